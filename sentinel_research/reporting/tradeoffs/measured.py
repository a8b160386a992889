"""What the cells of a group cost, by what their records hold."""

import statistics
from collections.abc import Callable
from typing import Any

from sentinel_research.record import CellRecord
from sentinel_research.reporting.estimates import Estimate, Group
from sentinel_research.reporting.plots import Spread

Read = Callable[[CellRecord], Spread | None]
_MILLI = 1000.0


def spread_of(found: Estimate) -> Spread:
    """A metric with its interval; of random masks with their range."""
    if found.interval is None:
        return Spread(found.value)
    return Spread(found.value, found.interval.low, found.interval.high)


def over_cells(group: Group, read: Read) -> Spread | None:
    """What the cells of a group have: the median of the values, and all intervals together.

    Args:
        group: Cells that differ in a seed.
        read: What one cell has; None if it was not measured.
    """
    known = [one for cell in group.cells if (one := read(cell)) is not None]
    if not known:
        return None
    value = statistics.median(one.value for one in known)
    if len(known) == 1:
        return known[0]
    lows = [one.value if one.low is None else one.low for one in known]
    highs = [one.value if one.high is None else one.high for one in known]
    return Spread(value, min(lows), max(highs))


def flops_share(cell: CellRecord) -> Spread | None:
    """Forward operations per token as a share of the dense model's, counted by torch."""
    report = cell.prune or {}
    before, after = report.get("flops_per_token_before"), report.get("flops_per_token_after")
    return Spread(after / before) if before and after else None


def parameters(cell: CellRecord) -> Spread | None:
    """Parameters that are there and not zero."""
    report = cell.prune or {}
    for key in ("num_nonzero_parameters_after", "num_parameters_after"):
        if report.get(key) is not None:
            return Spread(float(report[key]))
    return None


def first_token_ms(cell: CellRecord) -> Spread | None:
    """Milliseconds to the first token, with the quartiles of its repetitions."""
    return _timing(cell, "first_token_seconds")


def token_ms(cell: CellRecord) -> Spread | None:
    """Milliseconds of every token after the first, with the quartiles of its repetitions."""
    return _timing(cell, "decode_seconds_per_token")


def tokens_per_second(cell: CellRecord) -> Spread | None:
    """Tokens after the first one per second, with the quartiles of its repetitions."""
    found = token_ms(cell)
    if found is None or found.low is None or found.high is None:
        return None
    return Spread(_MILLI / found.value, _MILLI / found.high, _MILLI / found.low)


def _timing(cell: CellRecord, name: str) -> Spread | None:
    written: dict[str, Any] = (cell.evaluation.generation if cell.evaluation else None) or {}
    found = (written.get("speed") or {}).get(name)
    if found is None:
        return None
    return Spread(*(_MILLI * found[key] for key in ("median", "lower_quartile", "upper_quartile")))
