"""In which unit quality is compared: perplexities by their logarithm, in nats.

A fraction of perplexity would depend on where the perplexity is: of its logarithm, the loss that
training lowers, differences mean the same everywhere.
"""

import math
from typing import NamedTuple

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.estimates import Metric, list_metrics, measured, measurements
from sentinel_research.reporting.numbers import number
from sentinel_research.statistics import Interval

_PERPLEXITY = "perplexity"


class Reading(NamedTuple):
    """One measurement on the scale."""

    value: float
    """In the scale's unit."""
    stderr: float | None
    """Over documents, by the delta method where the scale is a logarithm; null without one."""


class Scale(NamedTuple):
    """How the quality on one task is compared."""

    task: str
    metric: Metric
    higher_is_better: bool | None
    """Null if the task does not say."""
    is_log: bool
    """Whether values are natural logarithms of the metric."""

    @property
    def unit(self) -> str:
        """Of differences."""
        if not self.is_log:
            return self.metric.label
        per = self.metric.name.removesuffix(_PERPLEXITY).strip("_")
        return f"nats per {per}" if per else "nats"

    def read(self, cell: CellRecord) -> Reading | None:
        """What a cell measured; None if it did not."""
        found = measured(cell, self.task, self.metric)
        if found is None:
            return None
        if not self.is_log:
            return Reading(found.value, found.stderr)
        error = None if found.stderr is None else found.stderr / found.value
        return Reading(math.log(found.value), error)

    def in_metric(self, value: float) -> float:
        """A value of the scale in the unit of the metric."""
        return math.exp(value) if self.is_log else value

    def interval_in_metric(self, interval: Interval) -> Interval:
        """An interval of the scale in the unit of the metric."""
        return Interval(*map(self.in_metric, interval))

    def in_words(self, value: float) -> str:
        """A difference with its unit."""
        return f"{number(value)} {self.unit}"


def scale_of(record: RunRecord, task: str) -> Scale | None:
    """The scale of a task's first metric; None if nothing was measured.

    Args:
        record: The run.
        task: One of its tasks.
    """
    metrics = list_metrics(record, task)
    if not metrics:
        return None
    found = [
        one for one in measurements(record, task) if Metric(one.metric, one.filter) == metrics[0]
    ]
    is_log = metrics[0].name.endswith(_PERPLEXITY) and all(one.value > 0 for one in found)
    return Scale(task, metrics[0], found[0].higher_is_better, is_log)
