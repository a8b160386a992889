"""One task of a run as the figures of trade-offs read it, and what they lack."""

from typing import NamedTuple

from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import (
    Group,
    Metric,
    estimate,
    list_metrics,
    measurements,
)
from sentinel_research.reporting.plots import Spread
from sentinel_research.reporting.tradeoffs.measured import spread_of

GENERATE = "add `evaluate.generation` to the recipe: --set evaluate.generation.corpus=NAME"
"""What to ask for where no model was timed."""


class Lack(NamedTuple):
    """A figure that is not drawn."""

    figure: str
    missing: str
    """What the record does not hold."""
    ask: str
    """What to add or to run for it."""


class Measured(NamedTuple):
    """One task with its groups that were measured."""

    task: str
    metric: Metric
    higher_is_better: bool
    values: dict[int, Spread]
    """By the place of the group."""

    @property
    def label(self) -> str:
        """The metric in words."""
        return self.metric.label.replace("_", " ")

    def dense(self, groups: list[Group]) -> Spread | None:
        """The dense model's value."""
        places = [place for place, group in enumerate(groups) if group.is_dense]
        return self.values.get(places[0]) if places else None


def measure(record: RunRecord, groups: list[Group], task: str) -> Measured | None:
    """A task with the first of its metrics; None if nothing was measured, or nobody says which
    direction is better.

    Args:
        record: The run.
        groups: Its cells, grouped.
        task: The task.
    """
    metrics = list_metrics(record, task)
    if not metrics:
        return None
    metric = metrics[0]
    directions = [
        one.higher_is_better
        for one in measurements(record, task)
        if (one.metric, one.filter) == tuple(metric)
    ]
    if directions[0] is None:
        return None
    values = {
        place: spread_of(found)
        for place, group in enumerate(groups)
        if (found := estimate(group, task, metric)) is not None
    }
    return Measured(task, metric, directions[0], values)


def last_groups(groups: list[Group]) -> dict[str, int]:
    """The place of every scorer's group at the largest fraction of the run."""
    most = max(group.fraction for group in groups)
    return {
        group.scorer: place
        for place, group in enumerate(groups)
        if group.fraction == most and not group.is_dense
    }
