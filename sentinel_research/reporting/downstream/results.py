"""Every task and group of a downstream run: each model before and after, and the majority class."""

import itertools
import math
import statistics
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from sentinel_research.record import BEFORE, MAJORITY, Arm, CellRecord, Measurement, RunRecord
from sentinel_research.reporting.differences import Difference, Pair, paired_differences
from sentinel_research.reporting.estimates import Metric, list_metrics, measured, measurements
from sentinel_research.statistics import Interval, mean_interval, normal_interval

SCORE = "score"
"""The one number of a task of GLUE and SuperGLUE: its metric, or the mean of its two."""
_OF_SQUAD = ("exact_match", "exact", "f1")
Kind = Literal["fine-tuned", "before", "majority"]
Against = Literal["above", "below", "not told apart", "not comparable"]


class Score(NamedTuple):
    """One model on one task or group."""

    name: str
    """The model's name in the recipe, or `majority class`."""
    kind: Kind
    values: dict[int, float]
    """The metric by seed; at 0 where there is no seed."""
    stderr: float | None
    """Over documents, the mean over seeds; null where the task gives none."""
    mean: float | None
    """Over seeds; null if nothing was measured."""
    sd: float | None
    """Standard deviation over seeds; null for fewer than two."""
    interval: Interval | None
    """Student's t interval of the mean over seeds; null for fewer than two."""
    against_majority: Against
    """On which side the majority class lies outside of both intervals, over seeds and documents."""
    num_asked: int
    """Seeds that the recipe asks for."""


class TaskScores(NamedTuple):
    """Everything about one task or group."""

    task: str
    is_group: bool
    """Whether the values are averages over its tasks, each of which had models of its own."""
    metric: Metric
    higher_is_better: bool | None
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    """Between the fine-tuned models, paired by seed."""
    absent: str
    """Why a value is missing; empty if none is."""

    @property
    def key(self) -> str:
        """The task, with the metric where a task has several official ones."""
        return f"{self.task}/{self.metric.name}" if self.metric.name in _OF_SQUAD else self.task


def downstream_results(record: RunRecord) -> tuple[TaskScores, ...]:
    """The results of a downstream run, tasks in the order of its units and then groups.

    Args:
        record: Of such a run, in any state.
    """
    about = record.downstream or {"units": {}, "groups": {}}
    found = [
        _task_scores(record, task, metric)
        for unit in about["units"].values()
        for task in unit["tasks"]
        for metric in _metrics(record, task)
    ]
    for name, group in about["groups"].items():
        found += [_group_scores(record, name, group, metric) for metric in group["averages"]]
    return tuple(one for one in found if any(score.values for score in one.scores))


def _metrics(record: RunRecord, task: str) -> list[Metric]:
    """The official ones: a task's score, or what SQuAD is judged by; else the first."""
    metrics = list_metrics(record, task)
    score = [one for one in metrics if one.name == SCORE]
    return score or [one for one in metrics if one.name in _OF_SQUAD] or metrics[:1]


def _task_scores(record: RunRecord, task: str, metric: Metric) -> TaskScores:
    def value(cells: list[CellRecord]) -> tuple[float, float | None] | None:
        found = [one for cell in cells if (one := measured(cell, task, metric)) is not None]
        return (found[0].value, found[0].stderr) if found else None

    direction = next(
        one.higher_is_better for one in measurements(record, task) if one.metric == metric.name
    )
    return _scores(record, task, metric, direction, value, is_group=False)


def _group_scores(
    record: RunRecord, name: str, group: dict[str, Any], metric_name: str
) -> TaskScores:
    """Averages as lm-eval makes them of a group, over tasks that had models of their own."""
    weighted = group["averages"][metric_name]

    def value(cells: list[CellRecord]) -> tuple[float, float | None] | None:
        parts = []
        for task in group["tasks"]:
            found = _measurement(cells, task, metric_name)
            if found is None:
                return None
            parts.append(found)
        sizes = [number if weighted else 1 for _, number in parts]
        total = sum(sizes)
        mean = sum(one.value * size for (one, _), size in zip(parts, sizes, strict=True)) / total
        errors = [one.stderr for one, _ in parts]
        if any(error is None for error in errors):
            return mean, None
        squares = ((error or 0.0) * size for error, size in zip(errors, sizes, strict=True))
        return mean, math.hypot(*squares) / total

    metric = Metric(metric_name, "none")
    return _scores(record, name, metric, True, value, is_group=True)


def _measurement(cells: list[CellRecord], task: str, metric: str) -> tuple[Measurement, int] | None:
    """What one of the cells measured on a task, and on how many documents."""
    for cell in cells:
        for one in cell.evaluation.measurements if cell.evaluation else ():
            if (one.task, one.metric) == (task, metric):
                assert cell.evaluation is not None
                return one, cell.evaluation.num_documents[task]
    return None


def _scores(
    record: RunRecord,
    task: str,
    metric: Metric,
    higher_is_better: bool | None,
    value: Any,
    *,
    is_group: bool,
) -> TaskScores:
    spec = record.recipe["downstream"]
    groups: dict[tuple[str, Kind], dict[int, list[CellRecord]]] = {}
    for cell in record.cells:
        assert cell.arm is not None  # all cells of a downstream run have one
        key = _who(cell.arm)
        groups.setdefault(key, {}).setdefault(cell.arm.seed or 0, []).append(cell)
    majority = value(groups.get((MAJORITY, "majority"), {}).get(0, []))
    scores = []
    for (name, kind), by_seed in groups.items():
        found = {seed: one for seed, cells in by_seed.items() if (one := value(cells)) is not None}
        asked = len(spec["seeds"]) if kind == "fine-tuned" else len(by_seed)
        scores.append(_score(name, kind, found, asked, majority and majority[0]))
    return TaskScores(
        task=task,
        is_group=is_group,
        metric=metric,
        higher_is_better=higher_is_better,
        scores=tuple(scores),
        differences=paired_differences(_pairs(scores), higher_is_better),
        absent=_absent(scores),
    )


def _score(
    name: str,
    kind: Kind,
    found: dict[int, tuple[float, float | None]],
    num_asked: int,
    majority: float | None,
) -> Score:
    values = {seed: value for seed, (value, _) in found.items()}
    errors = [error for _, error in found.values() if error is not None]
    several = len(values) > 1
    interval = mean_interval(list(values.values())) if several else None
    mean = statistics.fmean(values.values()) if values else None
    stderr = statistics.fmean(errors) if errors and len(errors) == len(values) else None
    documents = None if mean is None or stderr is None else normal_interval(mean, stderr)
    return Score(
        name=name,
        kind=kind,
        values=values,
        stderr=stderr,
        mean=mean,
        sd=statistics.stdev(values.values()) if several else None,
        interval=interval,
        against_majority=_against(kind, interval, documents, majority),
        num_asked=num_asked,
    )


def _against(
    kind: Kind, seeds: Interval | None, documents: Interval | None, majority: float | None
) -> Against:
    """A score without error over documents is not judged; of one seed that error is all."""
    if kind == "majority" or documents is None or majority is None:
        return "not comparable"
    intervals = [documents, *((seeds,) if seeds is not None else ())]
    if all(one.low > majority for one in intervals):
        return "above"
    return "below" if all(one.high < majority for one in intervals) else "not told apart"


def _pairs(scores: list[Score]) -> Iterator[Pair]:
    trained = [one for one in scores if one.kind == "fine-tuned"]
    for first, second in itertools.combinations(trained, 2):
        yield Pair(first.name, second.name, first.values, second.values)


def _absent(scores: list[Score]) -> str:
    short = [one for one in scores if len(one.values) < one.num_asked]
    return " ".join(
        f"{one.name} ({one.kind}): {len(one.values)} of {one.num_asked} measured."
        if one.kind != "majority"
        else "No majority class: there are no choices, or its score is not defined."
        for one in short
    )


def _who(arm: Arm) -> tuple[str, Kind]:
    if arm.name == MAJORITY:
        return MAJORITY, "majority"
    if arm.name.endswith(BEFORE):
        return arm.name.removesuffix(BEFORE), "before"
    return arm.name, "fine-tuned"
