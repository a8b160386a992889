"""The declared family: every pair, task and metric that is compared, chosen before any result."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.judgement.subjects import Pair, Subject
from sentinel_research.reporting.estimates import Metric, list_metrics
from sentinel_research.specs import JudgementSpec


class Asked(NamedTuple):
    """One member of the family."""

    pair: Pair
    task: str
    metric: Metric


def declare(pairs: Sequence[Pair], spec: JudgementSpec) -> list[Asked]:
    """The family that a spec asks for.

    Args:
        pairs: What is compared.
        spec: Tasks and metrics; without metrics, the one of each task that reports plot.

    Raises:
        UsageError: for a task or metric that none of the models was measured on.
    """
    tasks = _tasks(pairs, spec)
    known = {metric.name for pair in pairs for task in tasks for metric in _metrics(pair, task)}
    for name in spec.metrics:
        if name not in known:
            raise UsageError(
                f"no model was measured by '{name}' on {', '.join(tasks)}",
                did_you_mean(name, known),
            )
    return [
        Asked(pair, task, metric)
        for pair in pairs
        for task in tasks
        for metric in _chosen(_metrics(pair, task), spec.metrics)
    ]


def other_metrics(family: Sequence[Asked]) -> dict[str, list[str]]:
    """Of each task the metrics that were measured and not asked for."""
    found: dict[str, list[str]] = {}
    for one in family:
        asked = {each.metric for each in family if each.task == one.task}
        rest = [metric.label for metric in _metrics(one.pair, one.task) if metric not in asked]
        found[one.task] = list(dict.fromkeys([*found.get(one.task, []), *rest]))
    return {task: rest for task, rest in found.items() if rest}


def _chosen(metrics: Sequence[Metric], names: Sequence[str]) -> list[Metric]:
    return [one for one in metrics if one.name in names] if names else list(metrics[:1])


def _metrics(pair: Pair, task: str) -> list[Metric]:
    """What either model was measured by on a task, the plotted one first."""
    found = [metric for subject in pair for metric in list_metrics(_own(subject), task)]
    return list(dict.fromkeys(found))


def _own(subject: Subject) -> Any:
    """The record with this cell alone."""
    return subject.record.model_copy(update={"cells": [subject.cell]})


def _tasks(pairs: Sequence[Pair], spec: JudgementSpec) -> list[str]:
    """The tasks that have documents of their own; groups are the tasks in them."""
    subjects = [subject for pair in pairs for subject in pair]
    known = list(dict.fromkeys(task for one in subjects for task in one.evaluation.task_hashes))
    groups = {
        group: list(members)
        for one in subjects
        for group, members in (one.evaluation.lm_eval.get("group_subtasks") or {}).items()
        if members
    }
    if not spec.tasks:
        return known
    found = []
    for name in spec.tasks:
        members = [task for task in _members(name, groups) if task in known]
        if not members:
            raise UsageError(
                f"no model was measured on '{name}'", did_you_mean(name, [*known, *groups])
            )
        found += members
    return list(dict.fromkeys(found))


def _members(name: str, groups: dict[str, list[str]]) -> Iterator[str]:
    if name not in groups:
        yield name
    for member in groups.get(name, ()):
        yield from _members(member, groups)
