"""What every compared model measured on a task, and how the architectures differ over seeds."""

import itertools
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.differences import Difference, Pair, paired_differences
from sentinel_research.reporting.estimates import Metric, list_metrics, measured, measurements
from sentinel_research.statistics import Interval, mean_interval

_PREFERRED = "bits_per_byte"


class Result(NamedTuple):
    """One architecture, or one n-gram model, on one task."""

    name: str
    is_floor: bool
    """Whether it is an n-gram model, which has no seeds."""
    learning_rate: float | None
    """Peak rate; null for n-grams, and before it is chosen."""
    values: dict[int, float]
    """The metric by seed; an n-gram model's only value is at 0."""
    mean: float | None
    """Over seeds; null if nothing was measured."""
    sd: float | None
    """Standard deviation over seeds; null for fewer than two."""
    interval: Interval | None
    """Student's t interval of the mean over seeds; null for fewer than two."""
    num_asked: int
    """Seeds that the recipe asks for."""


class TaskResults(NamedTuple):
    """Everything about one task."""

    task: str
    metric: Metric
    higher_is_better: bool | None
    results: tuple[Result, ...]
    differences: tuple[Difference, ...]


def task_results(record: RunRecord, task: str) -> TaskResults | None:
    """The results on a task; None if nothing was measured.

    Args:
        record: A run that compares architectures.
        task: One of its tasks.
    """
    metrics = list_metrics(record, task)
    if not metrics:
        return None
    metric = next((one for one in metrics if one.name == _PREFERRED), metrics[0])
    direction = next(
        one.higher_is_better for one in measurements(record, task) if one.metric == metric.name
    )
    names = list(dict.fromkeys(cell.arm.name for cell in record.cells if cell.arm is not None))
    results = tuple(_result(record, task, metric, name) for name in names)
    differences = paired_differences(_pairs(results, control_of(record)), direction)
    return TaskResults(task, metric, direction, results, differences)


def control_of(record: RunRecord) -> str | None:
    """The model that all others are compared with; None where every pair is."""
    compare: dict[str, Any] = record.recipe.get("compare") or {}
    return compare.get("control")


def cells_of(record: RunRecord, name: str) -> list[CellRecord]:
    """The cells of one compared model that count: without rates that were not chosen."""
    return [
        cell
        for cell in record.cells
        if cell.arm is not None
        and cell.arm.name == name
        and not (cell.arm.is_tuning and not cell.arm.is_chosen)
    ]


def _result(record: RunRecord, task: str, metric: Metric, name: str) -> Result:
    cells = cells_of(record, name)
    arms = [cell.arm for cell in cells if cell.arm is not None]
    values = {
        cell.arm.seed or 0: found.value
        for cell in cells
        if cell.arm is not None and (found := measured(cell, task, metric)) is not None
    }
    several = len(values) > 1
    compare: dict[str, Any] = record.recipe.get("compare") or {}
    is_floor = all(arm.seed is None for arm in arms) and name not in compare["architectures"]
    rates = [arm.learning_rate for arm in arms if arm.learning_rate is not None]
    return Result(
        name=name,
        is_floor=is_floor,
        learning_rate=rates[0] if rates else None,
        values=values,
        mean=statistics.fmean(values.values()) if values else None,
        sd=statistics.stdev(values.values()) if several else None,
        interval=mean_interval(list(values.values())) if several else None,
        num_asked=1 if is_floor else len(compare["seeds"]),
    )


def _pairs(results: tuple[Result, ...], control: str | None) -> Iterator[Pair]:
    compared = [one for one in results if not one.is_floor]
    if control is None:
        pairs = list(itertools.combinations(compared, 2))
    else:
        reference = next(one for one in compared if one.name == control)
        pairs = [(one, reference) for one in compared if one is not reference]
    for first, second in pairs:
        yield Pair(first.name, second.name, first.values, second.values)
