"""How far the selections and scores of a criterion depend on the draw of the calibration text."""

import itertools
import re
from collections import Counter
from functools import lru_cache
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from sentinel_research.record import CellRecord
from sentinel_research.reporting.criteria.agreement import compare_with_itself
from sentinel_research.reporting.criteria.scores import Scores, Stratum, by_stratum
from sentinel_research.reporting.estimates import Group
from sentinel_research.statistics import SelectionSizes, expected_overlap

_LAYER = re.compile(r"L(\d+)")
# blocks are ranked together whatever the scope
_RANKED_WITHIN_LAYERS = ("head", "kv_group", "neuron")


class Selection(NamedTuple):
    """The units that one cell removed."""

    units: frozenset[tuple[str, str]]
    """Kind and label."""
    removed: Counter[Stratum]
    """How many, in each stratum among which the units were ranked."""
    available: Counter[Stratum] | None
    """Units of those strata before; null if the record does not say."""


class Stability(NamedTuple):
    """How stable the selection of a criterion at one fraction is."""

    scorer: str
    fraction: float
    num_draws: int
    """Selections, one for each calibration text or seed."""
    overlap: float | None
    """Mean Jaccard overlap of every two of them, in [0, 1]."""
    expected: float | None
    """Its expectation for random selections of the same sizes."""
    halves: float | None
    """Overlap of the selections from disjoint halves of one calibration text, mean over draws."""
    reason: str
    """Why a number is absent; empty if none is."""


class ScoreNoise(NamedTuple):
    """How much the scores of a criterion owe to the draw of the calibration text."""

    scorer: str
    num_draws: int
    self_correlation: float | None
    """Mean of Spearman's rho between the scores of every two draws."""
    noise_to_signal: float | None
    """Median standard error of a unit's score over the standard deviation of the scores of all
    units, mean over draws."""
    reason: str
    """Why a number is absent; empty if none is."""


def read_selection(cell: CellRecord) -> Selection | None:
    """What a cell removed; None if its record does not say.

    Args:
        cell: A cell of a pruned model.
    """
    report = cell.prune or {}
    if "removed" not in report:
        return None
    is_local = (cell.prune_spec or {}).get("scope", "local") == "local"

    def place(kind: str, layer: int) -> Stratum:
        return Stratum(kind, layer if is_local and kind in _RANKED_WITHIN_LAYERS else 0)

    units = [(kind, label) for kind, labels in report["removed"].items() for label in labels]
    removed: Counter[Stratum] = Counter()
    for kind, label in units:
        found = _LAYER.match(label)
        if found is None:
            return None
        removed[place(kind, int(found[1]))] += 1
    return Selection(frozenset(units), removed, _available(report, place))


def _available(report: dict[str, Any], place: Any) -> Counter[Stratum] | None:
    scores = (report.get("plan") or {}).get("scores")
    kinds = {kind for kind, labels in report["removed"].items() if labels}
    # a layer that is scored whole goes as two blocks: what was drawn is not what is listed
    if not scores or kinds - set(scores):
        return None
    available: Counter[Stratum] = Counter()
    for stratum, values in by_stratum(scores).items():
        available[place(*stratum)] += len(values)
    return available


def measure_stability(group: Group) -> Stability:
    """Compare the selections of a criterion at one fraction.

    Args:
        group: The cells of one scorer at one fraction.
    """
    found = [read_selection(cell) for cell in group.cells if cell.prune is not None]
    selections = [one for one in found if one is not None]
    pairs = list(itertools.combinations(selections, 2))
    overlaps = [_jaccard(one, two) for one, two in pairs]
    expected = [_expected(one, two) for one, two in pairs]
    known = [value for value in overlaps if value is not None]
    chances = [value for value in expected if value is not None]
    reports = [cell.prune for cell in group.cells if cell.prune is not None]
    halves = [
        report["selection_overlap"]
        for report in reports
        if report.get("selection_overlap") is not None
    ]
    reason = ""
    if len(selections) < len(found) or not found:
        reason = "the record does not list the removed units"
    elif any(report.get("num_removed", {}).get("weight") for report in reports):
        reason = "overlaps of single weights are not recorded"
    elif not pairs:
        reason = "one selection"
    elif not known:
        reason = "nothing was removed"
    elif not chances:
        reason = "the units scored are not the units removed: no expectation"
    return Stability(
        scorer=group.scorer,
        fraction=group.fraction,
        num_draws=len(selections),
        overlap=fmean(known) if known else None,
        expected=fmean(chances) if chances else None,
        halves=fmean(halves) if halves else None,
        reason=reason,
    )


class Overlap(NamedTuple):
    """What two selections share."""

    jaccard: float
    """Units in both over units in either, in [0, 1]."""
    expected: float | None
    """Its expectation for random selections of the same sizes; null where their units differ."""


def compare_selections(first: CellRecord, second: CellRecord) -> Overlap | None:
    """What the prunings of two cells share; None if a record does not say, or nothing went.

    Args:
        first: A cell of a pruned model.
        second: Another of the same model.
    """
    one, two = read_selection(first), read_selection(second)
    if one is None or two is None or (found := _jaccard(one, two)) is None:
        return None
    return Overlap(found, _expected(one, two))


def measure_noise(scorer: str, draws: list[Scores]) -> ScoreNoise:
    """Compare the scores of a criterion with their own sampling error.

    Args:
        scorer: The criterion.
        draws: Its draws, at least one.
    """
    ratios, reasons = [], []
    for scores in draws:
        values = scores.flat()
        if scores.errors is None:
            reasons.append("no standard errors of the scores in the record")
        elif len(values) < 2 or stdev(values) == 0:
            reasons.append("all scores are the same")
        else:
            errors = [error for stratum in scores.errors.values() for error in stratum]
            ratios.append(median(errors) / stdev(values))
    again = compare_with_itself(draws)
    if again is None:
        reasons.append("one draw" if len(draws) < 2 else "the scores have no order")
    noise = fmean(ratios) if ratios else None
    unique = "; ".join(dict.fromkeys(reasons)) if noise is None or again is None else ""
    return ScoreNoise(scorer, len(draws), again, noise, unique)


def _jaccard(one: Selection, two: Selection) -> float | None:
    union = one.units | two.units
    return len(one.units & two.units) / len(union) if union else None


def _expected(one: Selection, two: Selection) -> float | None:
    if one.available is None or one.available != two.available:
        return None
    return _expected_overlap(
        tuple(
            SelectionSizes(num_units, one.removed[stratum], two.removed[stratum])
            for stratum, num_units in sorted(one.available.items())
        )
    )


# the pairs of twenty masks mostly have the same sizes
_expected_overlap = lru_cache(maxsize=64)(expected_overlap)
