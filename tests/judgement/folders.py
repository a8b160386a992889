"""Run folders of samples that a test made; their metrics are what the tasks' functions give."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sentinel_research.evaluation.harness import task_hash
from sentinel_research.record import CellRecord, EvaluationReport, Measurement
from tests.reporting.records import toy_record

TASK = "toy_task"


class Metric(NamedTuple):
    """One metric of a task."""

    function: Callable[[Any], Any] | None
    """As the task's YAML names it; None for lm-eval's mean."""
    items: Sequence[Any]
    """One a document; None where the task returns none."""
    higher_is_better: bool | None = True
    filtered: Sequence[Any] | None = None
    """The same behind a filter `strict`, which has rows of its own; null for no filter."""


class Task(NamedTuple):
    """A measured task."""

    metrics: Mapping[str, Metric]
    num_fewshot: int = 0
    prompt: str = "prompt"
    """Part of the task's hash."""
    windows: Sequence[tuple[Sequence[float], Sequence[int]]] | None = None
    """Log-likelihoods and tokens of the windows of each text."""
    documents: Sequence[str] | None = None
    """Hash of each document; its number by default."""


def write_run(folder: Path, cells: Mapping[str, Mapping[str, Task]], **report: Any) -> str:
    """A finished run.

    Args:
        folder: Where it goes.
        cells: Tasks of each cell.
        **report: Of the evaluations, to replace.
    """
    records = [_cell(folder, name, tasks, report) for name, tasks in cells.items()]
    toy_record(records, {}).write(folder)
    return str(folder)


def accuracy(items: Sequence[float], **options: Any) -> dict[str, Task]:
    """A task of right and wrong answers."""
    return {TASK: Task({"acc": Metric(None, items)}, **options)}


def _cell(
    folder: Path, name: str, tasks: Mapping[str, Task], report: Mapping[str, Any]
) -> CellRecord:
    own = folder / "cells" / name
    own.mkdir(parents=True)
    measurements, samples, hashes, counts = [], {}, {}, {}
    for task, content in tasks.items():
        rows = _rows(content)
        path = own / f"samples_{task}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        samples[task] = str(path.relative_to(folder))
        hashes[task] = task_hash(rows)
        counts[task] = len({row["doc_id"] for row in rows})
        measurements += [
            Measurement(
                task=task,
                metric=metric,
                filter=name,
                value=float(
                    (one.function or np.mean)([item for item in items if item is not None])
                ),
                stderr=None,
                higher_is_better=one.higher_is_better,
            )
            for metric, one in content.metrics.items()
            for name, items in (("none", one.items), ("strict", one.filtered))
            if items is not None
        ]
    fields: dict[str, Any] = {
        "measurements": measurements,
        "task_hashes": hashes,
        "num_documents": counts,
        "max_length": 128,
        "samples": samples,
        "seconds": 1.0,
        "lm_eval": {
            "configs": {task: {"metric_list": _metric_list(one)} for task, one in tasks.items()},
            "n-shot": {task: one.num_fewshot for task, one in tasks.items()},
        },
    }
    return CellRecord(
        id=name, status="done", prune_spec=None, evaluation=EvaluationReport(**fields | report)
    )


def _rows(task: Task) -> list[dict[str, Any]]:
    num = len(next(iter(task.metrics.values())).items)
    names = task.documents or [f"{place:04d}" for place in range(num)]
    rows: list[dict[str, Any]] = [
        {
            "doc_id": place,
            "filter": "none",
            "doc_hash": name,
            "prompt_hash": task.prompt,
            "target_hash": "target",
            "metrics": list(task.metrics),
            **{
                metric: one.items[place]
                for metric, one in task.metrics.items()
                if one.items[place] is not None
            },
        }
        for place, name in enumerate(names)
    ]
    for metric, one in task.metrics.items():
        rows += [
            {**row, "filter": "strict", metric: item}
            for row, item in zip(rows[:num], one.filtered or (), strict=False)
        ]
    for row, windows in zip(rows, task.windows or (), strict=False):
        row["window_log_likelihoods"], row["window_num_tokens"] = windows
    return rows


def _metric_list(task: Task) -> list[dict[str, Any]]:
    """As lm-eval records it: functions by their source."""
    return [
        {
            "metric": name,
            "aggregation": "mean" if one.function is None else inspect.getsource(one.function),
            "higher_is_better": one.higher_is_better,
        }
        for name, one in task.metrics.items()
    ]
