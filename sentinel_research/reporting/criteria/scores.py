"""The scores that the cells of a record hold, by criterion and by draw.

A draw is one calibration text, or one seed of a seeded criterion; the fractions of a draw share its
scores. A stratum is the units of one kind in one layer. Units are compared by their place in it.
"""

from typing import Any, NamedTuple

from sentinel_research.record import CellRecord
from sentinel_research.reporting.estimates import Group, Repeats, calibration_seed
from sentinel_research.statistics import Interval, mean_interval

LEAVE_ONE_OUT = "leave_one_out"


class Stratum(NamedTuple):
    """The units of one kind in one layer."""

    kind: str
    """What the units are, such as `head`."""
    layer: int
    """The layer, from 0."""


class Draw(NamedTuple):
    """What made a selection differ from the others of its criterion."""

    repeats: Repeats
    """What was drawn anew."""
    seed: int
    """By which seed; 0 where nothing was drawn."""


class Scores(NamedTuple):
    """The importance that one draw of a criterion gave every unit."""

    draw: Draw
    """Which draw."""
    importance: dict[Stratum, tuple[float, ...]]
    """Higher is more important."""
    errors: dict[Stratum, tuple[float, ...]] | None
    """Standard errors from the sample of calibration text; null where the record holds none."""

    def flat(self) -> list[float]:
        """The importance of every unit of the model, in a fixed order."""
        return [value for stratum in sorted(self.importance) for value in self.importance[stratum]]

    def shape(self) -> dict[Stratum, int]:
        """Units per stratum."""
        return {stratum: len(values) for stratum, values in self.importance.items()}


class Mean(NamedTuple):
    """A mean over draws."""

    value: float
    """The mean."""
    interval: Interval | None
    """Student's t interval at 95%; null for a single draw."""
    num_draws: int
    """Independent draws."""


def mean_over_draws(values: list[float]) -> Mean | None:
    """The mean with its interval; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return Mean(values[0], None, 1)
    interval = mean_interval(values)
    return Mean(interval.value, interval, len(values))


def draw_of(group: Group, cell: CellRecord) -> Draw:
    """Which draw of its group a cell is."""
    spec: dict[str, Any] = cell.prune_spec or {}
    if group.repeats == "nothing":
        return Draw("nothing", 0)
    if group.repeats == "masks":
        return Draw("masks", spec["seed"])
    return Draw("calibration", calibration_seed(spec) or 0)


def read_scores(groups: list[Group]) -> dict[str, list[Scores]]:
    """Scorer -> its draws, ascending by seed; scorers without any score in the record are left out.

    Args:
        groups: The cells of a run, grouped; the dense model is passed over.
    """
    found: dict[str, dict[Draw, Scores]] = {}
    for group in groups:
        for cell in group.cells:
            plan = (cell.prune or {}).get("plan") or {}
            if not plan.get("scores"):
                continue
            draw = draw_of(group, cell)
            errors = plan.get("score_errors")
            scores = Scores(draw, by_stratum(plan["scores"]), errors and by_stratum(errors))
            found.setdefault(group.scorer, {}).setdefault(draw, scores)
    return {scorer: [draws[draw] for draw in sorted(draws)] for scorer, draws in found.items()}


def by_stratum(per_kind: dict[str, list[list[float]]]) -> dict[Stratum, tuple[float, ...]]:
    """Values per kind and layer, layers without any unit left out."""
    return {
        Stratum(kind, layer): tuple(values)
        for kind, layers in per_kind.items()
        for layer, values in enumerate(layers)
        if values
    }


def pair_draws(first: list[Scores], second: list[Scores]) -> list[list[tuple[Scores, Scores]]]:
    """Which draws of two criteria to compare: a list per independent draw.

    Criteria that read calibration text are compared on the same text. Otherwise every draw of the
    criterion with more of them is compared with all of the other.
    """
    if first[0].draw.repeats == second[0].draw.repeats:
        other = {scores.draw: scores for scores in second}
        return [[(one, other[one.draw])] for one in first if one.draw in other]
    if len(first) >= len(second):
        return [[(one, two) for two in second] for one in first]
    return [[(one, two) for one in first] for two in second]
