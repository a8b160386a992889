"""Scores by position and costs by length, of compared architectures or of single models."""

import math
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.architectures.results import cells_of
from sentinel_research.reporting.numbers import number, with_error
from sentinel_research.reporting.plots import Line, Panel, Spread, draw_lines
from sentinel_research.reporting.svg import Drawing
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.statistics import Interval, mean_interval, normal_interval

_NONE = Cell("-", kind="number")
_LARGEST_EXPONENT = 700.0


class PositionResult(NamedTuple):
    """One model in one bucket of positions."""

    model: str
    start: int
    stop: int
    """First position behind the bucket."""
    values: tuple[float, ...]
    """Mean nats per token of every seed that has one."""
    mean: float | None
    """Over seeds; null if none has a finite value."""
    sd: float | None
    """Over seeds; null for fewer than two."""
    interval: Interval | None
    """Student's t interval of the mean over seeds; null for fewer than two."""
    stderr: float | None
    """Over sequences, where there is one seed; null where there are several."""
    num_not_finite: int
    """Tokens without a finite score, over all seeds."""


class LengthCost(NamedTuple):
    """One model reading one sequence of one length."""

    model: str
    length: int
    tokens_per_second: float
    """Median over seeds."""
    cache_bytes: int
    """Keys, values and states after the last token."""


class LongContextResults(NamedTuple):
    """Everything about long sequences in a run."""

    buckets: tuple[PositionResult, ...]
    costs: tuple[LengthCost, ...]
    skipped: dict[str, dict[str, str]]
    """Model -> length -> why it has no numbers."""
    not_measured: tuple[str, ...]
    """Models that were asked for and have none, since none of their cells was measured."""


def long_context_results(record: RunRecord) -> LongContextResults | None:
    """What a run measured on long sequences; None if it was not asked to.

    Args:
        record: Any run.
    """
    if not (record.recipe.get("evaluate") or {}).get("long_context"):
        return None
    found = {name: [*_reports(cells)] for name, cells in _models(record).items()}
    return LongContextResults(
        buckets=tuple(one for name, reports in found.items() for one in _buckets(name, reports)),
        costs=tuple(one for name, reports in found.items() for one in _costs(name, reports)),
        skipped={
            name: reports[0]["skipped"]
            for name, reports in found.items()
            if reports and reports[0]["skipped"]
        },
        not_measured=tuple(name for name, reports in found.items() if not reports),
    )


def _models(record: RunRecord) -> dict[str, list[CellRecord]]:
    """Cells by architecture where they are seeds of one, else each by itself."""
    names = dict.fromkeys(cell.arm.name for cell in record.cells if cell.arm is not None)
    if names:
        return {name: cells_of(record, name) for name in names}
    return {cell.id: [cell] for cell in record.cells}


def _reports(cells: list[CellRecord]) -> Iterator[dict[str, Any]]:
    for cell in cells:
        if cell.evaluation is not None and cell.evaluation.long_context is not None:
            yield cell.evaluation.long_context


def _buckets(name: str, reports: list[dict[str, Any]]) -> Iterator[PositionResult]:
    for same in zip(*(report["buckets"] for report in reports), strict=True):
        values = [one["nats_per_token"] for one in same if one["nats_per_token"] is not None]
        several = len(values) > 1
        yield PositionResult(
            model=name,
            start=same[0]["start"],
            stop=same[0]["stop"],
            values=tuple(values),
            mean=statistics.fmean(values) if values else None,
            sd=statistics.stdev(values) if several else None,
            interval=mean_interval(values) if several else None,
            stderr=same[0]["stderr"] if len(same) == 1 else None,
            num_not_finite=sum(one["num_not_finite"] for one in same),
        )


def _costs(name: str, reports: list[dict[str, Any]]) -> Iterator[LengthCost]:
    for same in zip(*(report["costs"] for report in reports), strict=True):
        speed = statistics.median(one["tokens_per_second"] for one in same)
        yield LengthCost(name, same[0]["length"], speed, same[0]["cache_bytes"])


def draw_positions(found: LongContextResults, synthetic_data: bool) -> Drawing | None:
    """Draw the perplexity of every model by position; None if nothing is finite.

    Args:
        found: The results of a run.
        synthetic_data: Whether to mark the figure.
    """
    points: dict[str, list[tuple[float, Spread]]] = {}
    for one in found.buckets:
        if one.mean is None or one.mean > _LARGEST_EXPONENT:
            continue
        ends: tuple[float, float] | None = None
        if one.interval is not None:
            ends = (one.interval.low, one.interval.high)
        elif one.stderr is not None:
            found_interval = normal_interval(one.mean, one.stderr)
            ends = (found_interval.low, found_interval.high)
        inside = ends is not None and max(ends) < _LARGEST_EXPONENT
        spread = Spread(math.exp(one.mean), *(map(math.exp, ends) if ends and inside else ()))
        points.setdefault(one.model, []).append((float(one.stop), spread))
    if not points:
        return None
    lines = tuple(Line(model, tuple(own)) for model, own in points.items())
    return draw_lines(
        [Panel("perplexity of the tokens up to a position, from the one before", lines)],
        name="positions",
        title="Perplexity by position",
        across="position",
        synthetic_data=synthetic_data,
        is_log=True,
    )


def positions_table(found: LongContextResults) -> Table:
    """A row per model and bucket of positions, also for lengths that it cannot read.

    Args:
        found: The results of a run.
    """
    headers: tuple[str, ...] = ("model", "positions", "nats per token", "sd over seeds")
    headers += ("95% interval over seeds", "perplexity", "seeds", "tokens not finite")
    rows: list[tuple[Cell, ...]] = []
    for one in found.buckets:
        exact = "; ".join(map(str, one.values))
        interval = one.interval and f"{number(one.interval.low)} to {number(one.interval.high)}"
        rows.append(
            (
                Cell(one.model),
                Cell(f"{one.start:,} to {one.stop - 1:,}"),
                Cell("not measured", kind="missing")
                if one.mean is None
                else Cell(with_error(one.mean, one.stderr), exact, "number"),
                _NONE if one.sd is None else Cell(number(one.sd), str(one.sd), "number"),
                Cell(interval, kind="number") if interval else _NONE,
                _perplexity(one.mean),
                Cell(str(len(one.values)), kind="number"),
                Cell(f"{one.num_not_finite:,}", kind="bad" if one.num_not_finite else "number"),
            )
        )
    for name, reason, lengths in _reasons(found):
        stops = ", ".join(f"{length - 1:,}" for length in lengths)
        absent = Cell("not measured", reason, "missing")
        rows.append((Cell(name), Cell(f"up to {stops}"), absent, *[_NONE] * 5))
    return Table(headers, tuple(rows))


def _perplexity(nats: float | None) -> Cell:
    if nats is None:
        return _NONE
    if nats > _LARGEST_EXPONENT:
        return Cell(f"exp({number(nats)})", kind="number")
    return Cell(number(math.exp(nats)), str(math.exp(nats)), "number")


def costs_table(found: LongContextResults) -> Table:
    """A row per model and length.

    Args:
        found: The results of a run.
    """
    rows = tuple(
        (
            Cell(one.model),
            Cell(f"{one.length:,}", kind="number"),
            Cell(f"{one.tokens_per_second:,.0f}", str(one.tokens_per_second), "number"),
            Cell(f"{one.cache_bytes:,}", kind="number"),
        )
        for one in found.costs
    )
    return Table(("model", "tokens read", "tokens per second", "bytes of state or cache"), rows)


def explain_absent(found: LongContextResults) -> str:
    """Every length without numbers, with its reason; empty if all are there."""
    sentences = [f"{name}: no model of it was measured." for name in found.not_measured]
    for name, reason, lengths in _reasons(found):
        shown = ", ".join(f"{length:,}" for length in lengths)
        sentences.append(f"{name} at {shown} tokens: {reason}.")
    return " ".join(sentences)


def _reasons(found: LongContextResults) -> Iterator[tuple[str, str, list[int]]]:
    """Every model with a reason and the lengths that have it."""
    for name, skipped in found.skipped.items():
        lengths: dict[str, list[int]] = {}
        for length, reason in skipped.items():
            lengths.setdefault(reason, []).append(int(length))
        for reason, of in lengths.items():
            yield name, reason, of


def explain_long_context(record: RunRecord) -> tuple[str, str]:
    """What the two tables cover."""
    asked = record.recipe["evaluate"]["long_context"]
    covered = (
        f"{asked['num_sequences']} sequences of {asked['corpus']}, {asked['split']}, read in "
        f"windows of {asked['window']:,} tokens with the state carried on: the scores are those of "
        "one pass. ± is one standard error over sequences, where there is one seed."
    )
    trained = (record.recipe.get("train") or {}).get("sequence_length")
    covered += f" Trained on {trained:,} tokens." if trained else ""
    timed = "Time to read one sequence and score every token of it, median over seeds."
    return covered, timed
