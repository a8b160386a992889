"""What every compared model measured on a task, and how the architectures differ over seeds."""

import itertools
import statistics
from typing import Any, Literal, NamedTuple

from sentinel_research.paired import PairedTest, paired_test
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.estimates import Metric, list_metrics, measured, measurements
from sentinel_research.statistics import Interval, holm, mean_interval

LEVEL = 0.05
_PREFERRED = "bits_per_byte"
Verdict = Literal["better", "worse", "no difference found", "not comparable"]


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


class Difference(NamedTuple):
    """Two architectures on one task, paired by seed."""

    first: str
    second: str
    test: PairedTest | None
    """First less second; null where it could not be tested."""
    p_adjusted: float | None
    """After Holm over all pairs of the task."""
    verdict: Verdict
    """Of the first."""
    reason: str
    """Why it could not be tested; empty if it was."""


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
    differences = _differences(_pairs(results, control_of(record)), direction)
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


def _pairs(results: tuple[Result, ...], control: str | None) -> list[tuple[Result, Result]]:
    compared = [one for one in results if not one.is_floor]
    if control is None:
        return list(itertools.combinations(compared, 2))
    reference = next(one for one in compared if one.name == control)
    return [(one, reference) for one in compared if one is not reference]


def _differences(
    pairs: list[tuple[Result, Result]], higher_is_better: bool | None
) -> tuple[Difference, ...]:
    tests, reasons = [], []
    for first, second in pairs:
        shared = sorted(first.values.keys() & second.values.keys())
        reason = "" if len(shared) > 1 else f"{len(shared)} seed(s) in common, two are needed"
        test = None
        if not reason:
            test = paired_test(
                [first.values[s] for s in shared], [second.values[s] for s in shared]
            )
            reason = "" if test is not None else "the same difference at every seed"
        tests.append(test)
        reasons.append(reason)
    adjusted = iter(holm([test.p_value for test in tests if test is not None]))
    return tuple(
        Difference(
            first=first.name,
            second=second.name,
            test=test,
            p_adjusted=(p := None if test is None else next(adjusted)),
            verdict=_verdict(test, p, higher_is_better),
            reason=reason,
        )
        for (first, second), test, reason in zip(pairs, tests, reasons, strict=True)
    )


def _verdict(test: PairedTest | None, p: float | None, higher_is_better: bool | None) -> Verdict:
    if test is None or p is None or higher_is_better is None:
        return "not comparable"
    if p >= LEVEL:
        return "no difference found"
    return "better" if (test.difference.value > 0) == higher_is_better else "worse"
