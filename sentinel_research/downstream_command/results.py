"""From the record of a downstream run to the file of each model."""

import statistics
from pathlib import Path
from typing import Any

from sentinel_research.downstream_command.request import FAMILIES
from sentinel_research.downstream_command.schema import (
    DEFINITIONS,
    RESULT_VERSION,
    DownstreamResult,
    Mmlu,
    ScoreInterval,
    Squad,
)
from sentinel_research.record import BEFORE, MAJORITY, CellRecord, RunRecord
from sentinel_research.reporting.downstream.results import (
    Kind,
    Score,
    TaskScores,
    downstream_results,
)

_SQUAD, _MMLU = "sentinel_squad", "sentinel_mmlu"
_PERCENT = 100


def file_name(model: str) -> str:
    """The published name of a model's file."""
    return f"{model}_downstream.json"


def downstream_result(
    model: str, record: RunRecord, folder: Path, config: dict[str, Any]
) -> DownstreamResult:
    """The content of a model's file.

    Args:
        model: One of the run's models.
        record: The run's record, finished.
        folder: Where it is, as the file should say it.
        config: Every flag.
    """
    results = downstream_results(record)
    tuned = _values(results, model, "fine-tuned")
    groups = (record.downstream or {}).get("groups", {})
    in_family = {
        task for name in FAMILIES.values() for group in name for task in _tasks(groups, group)
    }
    failed = {
        cell.id: cell.error or f"status {cell.status}"
        for cell in record.cells
        if cell.status != "done" and _concerns(cell, model)
    }
    scores = {
        one.key: score
        for one in results
        for score in one.scores
        if (score.name, score.kind) == (model, "fine-tuned") and score.values
    }
    return DownstreamResult(
        glue=_family(tuned, groups, "glue"),
        superglue=_family(tuned, groups, "superglue"),
        squad=_squad(record, model),
        mmlu=_mmlu(tuned, groups),
        other={
            task: value
            for task, value in tuned.items()
            if task not in in_family and task not in groups and not task.startswith(f"{_SQUAD}/")
        },
        model_name=model,
        schema_version=RESULT_VERSION,
        status="failed" if failed or not tuned else "done",
        seed_values=list(record.recipe["downstream"]["seeds"]),
        seeds={task: list(score.values.values()) for task, score in scores.items()},
        intervals={task: _interval(score) for task, score in scores.items()},
        before=_values(results, model, "before"),
        majority=_values(results, None, "majority"),
        failed=failed,
        config=config,
        definitions=DEFINITIONS,
        provenance={
            "record": str(folder / "record.json"),
            "recipe_fingerprint": record.recipe_fingerprint,
            "commit": record.environment["git"]["commit"],
            "dirty": record.environment["git"]["dirty"],
            "packages": record.environment["packages"],
            "device": record.environment["device"],
            "checkpoints": (record.downstream or {}).get("models", {}).get(model, {}),
            "documents": (record.downstream or {}).get("units", {}),
        },
    )


def _values(results: tuple[TaskScores, ...], model: str | None, kind: Kind) -> dict[str, float]:
    """Mean over seeds by task and group, see `TaskScores.key`."""
    return {
        one.key: score.mean
        for one in results
        for score in one.scores
        if score.kind == kind and model in (score.name, None) and score.mean is not None
    }


def _family(
    values: dict[str, float], groups: dict[str, Any], family: str
) -> dict[str, float] | None:
    (group,) = FAMILIES[family]
    tasks = _tasks(groups, group)
    if not tasks:
        return None
    found = {_short(task): values[task] for task in tasks if task in values}
    return {**found, **({"average": values[group]} if group in values else {})}


def _squad(record: RunRecord, model: str) -> Squad | None:
    units = (record.downstream or {}).get("units", {})
    found: dict[str, list[float]] = {"exact_match": [], "f1": []}
    for cell in record.cells:
        is_own = cell.fine_tuned_on == _SQUAD and cell.arm is not None and cell.arm.name == model
        if is_own and cell.evaluation is not None:
            for name, values in found.items():
                values.append(cell.evaluation.measurement(_SQUAD, name).value / _PERCENT)
    if not found["f1"]:
        return None
    documents = units[_SQUAD]["documents"][_SQUAD]
    return Squad(
        em=statistics.fmean(found["exact_match"]),
        f1=statistics.fmean(found["f1"]),
        dataset_size=documents["num_train"] + documents["num_held_out"],
    )


def _mmlu(values: dict[str, float], groups: dict[str, Any]) -> Mmlu | None:
    tasks = _tasks(groups, _MMLU)
    if not tasks:
        return None
    prefix = f"{_MMLU}_"
    subjects = {task.removeprefix(prefix): values[task] for task in tasks if task in values}
    return Mmlu(
        accuracy=values.get(_MMLU),
        subject_scores=subjects,
        num_subjects_evaluated=len(subjects),
    )


def _interval(score: Score) -> ScoreInterval:
    assert score.mean is not None  # the caller's score has values
    return ScoreInterval(
        mean=score.mean,
        sd=score.sd,
        low=None if score.interval is None else score.interval.low,
        high=None if score.interval is None else score.interval.high,
        stderr_over_documents=score.stderr,
        against_majority=score.against_majority,
    )


def _tasks(groups: dict[str, Any], group: str) -> list[str]:
    return list(groups.get(group, {}).get("tasks", []))


def _short(task: str) -> str:
    """The published name of a family's task.

    Example:
        >>> _short("sentinel_mnli_both"), _short("sentinel_sglue_rte")
        ('mnli', 'rte')
    """
    name = task.removeprefix("sentinel_")
    return {"mnli_both": "mnli", "sglue_rte": "rte"}.get(name, name)


def _concerns(cell: CellRecord, model: str) -> bool:
    """Whether a cell is the model's own, or the majority class."""
    assert cell.arm is not None  # all cells of a downstream run have one
    return cell.arm.name.removesuffix(BEFORE) in (model, MAJORITY)
