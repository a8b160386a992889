"""What the figure of a task shows: one curve per scorer, all from the same dense point."""

from typing import NamedTuple

from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import (
    DENSE,
    Estimate,
    Group,
    Metric,
    Over,
    estimate,
    floor_value,
    is_floor_of,
    measurements,
)
from sentinel_research.reporting.numbers import fraction, number
from sentinel_research.statistics import Interval

_LOG_RATIO = 10
_EXPLANATIONS: dict[Over, str] = {
    "masks": "Median of the masks, with the range of all of them as a band (seeds)",
    "calibration": (
        "Mean over calibration seeds with Student's t interval, which covers the choice of units "
        "and not the sample of documents"
    ),
    "documents": (
        "One measurement with 1.96 times its bootstrap standard error, which covers the sample of "
        "documents (or windows) and nothing else"
    ),
    "nothing": "No interval, as the task gives no standard error",
}


class Point(NamedTuple):
    """One fraction of a curve."""

    fraction: float
    """Share pruned, in [0, 1]."""
    estimate: Estimate | None
    """None where nothing was measured: the curve is broken there."""


class Curve(NamedTuple):
    """The points of one scorer, with rising fractions, without the dense model."""

    scorer: str
    points: tuple[Point, ...]

    @property
    def is_of_masks(self) -> bool:
        """Whether its points are medians of several masks, with their range."""
        return any(point.estimate and point.estimate.over == "masks" for point in self.points)

    def last_value(self) -> float | None:
        """The value at the largest fraction that was measured."""
        found = [point.estimate.value for point in self.points if point.estimate]
        return found[-1] if found else None


class TaskCurves(NamedTuple):
    """Everything the figure of one task shows."""

    task: str
    metric: Metric
    higher_is_better: bool | None
    dense: Estimate | None
    curves: tuple[Curve, ...]
    floor: float | None
    """Exact perplexity of the true source, if the task knows it and it is in the metric's unit."""

    def estimates(self) -> list[Estimate]:
        """Every estimate that is drawn."""
        points = [point.estimate for curve in self.curves for point in curve.points]
        return [one for one in (self.dense, *points) if one is not None]

    def in_words(self) -> str:
        """The figure for someone who does not see it."""
        lines = [] if self.dense is None else [f"dense model: {number(self.dense.value)}"]
        for curve in self.curves:
            lines.append(f"{curve.scorer}: {', '.join(map(_in_words, curve.points))}")
        if self.floor is not None:
            lines.append(f"entropy floor: {number(self.floor)}")
        return "; ".join(lines)


class Frame(NamedTuple):
    """The vertical axis of a figure, in the metric's unit."""

    bottom: float
    top: float
    is_log: bool
    """Logarithmic: for perplexities that differ tenfold."""
    cuts_intervals: bool
    """Whether an interval reaches beyond."""


def task_curves(record: RunRecord, groups: list[Group], task: str, metric: Metric) -> TaskCurves:
    """Collect the curves of one metric.

    Args:
        record: The run.
        groups: Its cells, grouped.
        task: The task.
        metric: The metric to show.
    """
    points: dict[str, list[Point]] = {}
    dense = None
    for group in groups:
        found = estimate(group, task, metric)
        if group.is_dense:
            dense = found
        else:
            points.setdefault(group.scorer, []).append(Point(group.fraction, found))
    directions = [
        one.higher_is_better
        for one in measurements(record, task)
        if Metric(one.metric, one.filter) == metric
    ]
    return TaskCurves(
        task=task,
        metric=metric,
        higher_is_better=directions[0] if directions else None,
        dense=dense,
        curves=tuple(Curve(scorer, tuple(found)) for scorer, found in points.items()),
        floor=floor_value(record, task) if is_floor_of(record, task, metric) else None,
    )


def choose_frame(curves: TaskCurves) -> Frame:
    """Frame the values, and as much of the intervals as leaves the curves readable.

    Args:
        curves: At least one estimate in them.
    """
    estimates = curves.estimates()
    # every mask is shown, an interval only as far as there is room
    values = [value for one in estimates for value in (one.value, *_range_of_masks(one))]
    values += [] if curves.floor is None else [curves.floor]
    intervals = [one.interval for one in estimates if one.interval]
    return frame_around(values, intervals, curves.metric.name.endswith("perplexity"))


def frame_around(values: list[float], intervals: list[Interval], is_perplexity: bool) -> Frame:
    """Frame values, and as much of their intervals as leaves the values apart.

    Args:
        values: At least one.
        intervals: Of some of them.
        is_perplexity: Whether the frame may be logarithmic.
    """
    lowest, highest = min(values), max(values)
    low = min([lowest, *(one.low for one in intervals)])
    high = max([highest, *(one.high for one in intervals)])
    if is_perplexity and lowest > 0 and highest / lowest > _LOG_RATIO:
        bottom, top = max(low, lowest / 2), min(high, highest * 4)
        return Frame(bottom / 1.4, top * 1.25, True, low < bottom or high > top)
    spread = highest - lowest
    bottom, top = low, high
    # two seeds give t intervals of twelve standard errors: uncut they flatten every curve
    if spread > 0:
        bottom, top = max(low, lowest - spread / 4), min(high, highest + spread)
    margin = 0.1 * (top - bottom or abs(top) or 1.0)
    return Frame(bottom - margin, top + margin, False, low < bottom or high > top)


def explain_intervals(curves: TaskCurves) -> list[str]:
    """Which kind of interval each curve shows, in sentences."""
    kinds: dict[Over, list[str]] = {"masks": [], "calibration": [], "documents": [], "nothing": []}
    shown = [(DENSE, curves.dense)]
    shown += [(curve.scorer, point.estimate) for curve in curves.curves for point in curve.points]
    for scorer, found in shown:
        if found is not None and scorer not in kinds[found.over]:
            kinds[found.over].append(scorer)
    sentences = [
        f"{_EXPLANATIONS[over]}: {', '.join(scorers)}."
        for over, scorers in kinds.items()
        if scorers
    ]
    if choose_frame(curves).cuts_intervals:
        sentences.append("Bars cut by the frame go on; the table has the whole intervals.")
    return sentences


def _range_of_masks(found: Estimate) -> tuple[float, ...]:
    return (min(found.values), max(found.values)) if found.over == "masks" else ()


def _in_words(point: Point) -> str:
    share, found = fraction(point.fraction), point.estimate
    if found is None:
        return f"not measured at {share}"
    if found.over != "masks" or found.interval is None:
        return f"{number(found.value)} at {share}"
    low, high = number(found.interval.low), number(found.interval.high)
    return f"median {number(found.value)} of {low} to {high} at {share}"
