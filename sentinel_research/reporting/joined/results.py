"""What the models of a sweep measured on a task, cell group by cell group."""

import json
from pathlib import Path
from typing import NamedTuple

from sentinel_research.errors import UsageError
from sentinel_research.record import MODELS_FOLDER, SWEEP_FILE, RunRecord
from sentinel_research.reporting.estimates import (
    Group,
    Metric,
    estimate,
    group_cells,
    list_metrics,
    list_tasks,
    measurements,
)
from sentinel_research.reporting.plots import Spread
from sentinel_research.reporting.tradeoffs.measured import spread_of

# the same whatever cuts text into tokens, so that models may be compared by them
_OF_ANY_TOKENIZER = ("bits_per_byte", "byte_perplexity", "word_perplexity", "acc", "exact_match")


class Swept(NamedTuple):
    """A sweep of several models."""

    name: str
    records: dict[str, RunRecord]
    """By the model's name."""


class Row(NamedTuple):
    """One group of cells of one model on one task."""

    model: str
    scorer: str
    fraction: float
    value: Spread
    dense: float | None
    """The dense model's value."""
    flops_per_token: float | None
    """Forward operations, counted; null for a dense model without any pruning beside it."""

    @property
    def ratio(self) -> Spread | None:
        """The value over the dense model's, whose own error is left out."""
        if not self.dense:
            return None
        ends = (None if end is None else end / self.dense for end in self.value[1:])
        return Spread(self.value.value / self.dense, *ends)


class TaskOfModels(NamedTuple):
    """One task of a sweep."""

    task: str
    metric: Metric
    higher_is_better: bool | None
    is_comparable: bool
    """Whether the metric means the same for models with tokens of their own."""
    rows: tuple[Row, ...]


def read_models(folder: Path) -> Swept | None:
    """The records of a sweep's models; None for a folder without several models.

    Args:
        folder: Any.

    Raises:
        UsageError: if the sweep's file is damaged, or a record cannot be read.
    """
    path = folder / SWEEP_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name, models = str(content["name"]), [str(one) for one in content["models"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not the file of a sweep: {error}",
            "`sentinel run` writes it again; the same command resumes",
        ) from error
    if not any(models):
        return None
    return Swept(name, {one: RunRecord.read(folder / MODELS_FOLDER / one) for one in models})


def tasks_of(swept: Swept) -> list[TaskOfModels]:
    """Every task that any model was measured on, by a metric that all of its models have."""
    groups = {name: group_cells(record) for name, record in swept.records.items()}
    tasks = dict.fromkeys(task for one in swept.records.values() for task in list_tasks(one))
    found = []
    for task in tasks:
        known = {
            name: list_metrics(record, task)
            for name, record in swept.records.items()
            if list_metrics(record, task)
        }
        if not known:
            continue
        shared = [
            metric
            for metric in next(iter(known.values()))
            if all(metric in others for others in known.values())
        ]
        if not shared:
            continue
        ranks = {name: place for place, name in enumerate(_OF_ANY_TOKENIZER)}
        metric = min(shared, key=lambda one: ranks.get(one.name, len(ranks)))
        directions = [
            one.higher_is_better
            for name in known
            for one in measurements(swept.records[name], task)
            if (one.metric, one.filter) == tuple(metric)
        ]
        rows = [row for name in known for row in _rows(name, groups[name], task, metric)]
        comparable = metric.name in _OF_ANY_TOKENIZER
        found.append(TaskOfModels(task, metric, directions[0], comparable, tuple(rows)))
    return found


def _rows(name: str, groups: list[Group], task: str, metric: Metric) -> list[Row]:
    values = [(group, estimate(group, task, metric)) for group in groups]
    dense = next((found.value for group, found in values if group.is_dense and found), None)
    before = [
        (cell.prune or {}).get("flops_per_token_before") for group in groups for cell in group.cells
    ]
    whole = next((float(one) for one in before if one is not None), None)
    return [
        Row(
            name,
            group.scorer,
            group.fraction,
            spread_of(found),
            dense,
            whole if group.is_dense else _flops(group),
        )
        for group, found in values
        if found is not None
    ]


def _flops(group: Group) -> float | None:
    known = [
        float(cell.prune["flops_per_token_after"])
        for cell in group.cells
        if cell.prune and cell.prune.get("flops_per_token_after") is not None
    ]
    return sum(known) / len(known) if known else None
