"""What the index keeps of a record."""

import lzma
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sentinel_research.record import SCHEMA_VERSION, CellRecord, RunRecord

KEPT_SUFFIX = ".json.xz"
"""Of records that are kept compressed, without their run folder."""
Value = str | int | float | None


class Measured(NamedTuple):
    """One measurement; the fields are the columns `columns.KEY` and `columns.NUMBERS`."""

    task: str
    metric: str
    filter: str
    higher_is_better: bool | None
    value: float
    stderr: float | None


class Extract(NamedTuple):
    """The rows of one record."""

    run: dict[str, Value]
    """Columns of `columns.RUN` but for `path`."""
    cells: list[dict[str, Value]]
    """Columns of `columns.CELL`, in the record's order."""
    measured: list[list[Measured]]
    """The measurements of every cell."""


def parse_record(content: bytes, path: Path) -> RunRecord:
    """The record in a file's bytes.

    Args:
        content: JSON, or compressed JSON for a name that ends with `.json.xz`.
        path: The file.

    Raises:
        UsageError: if it is not a record, or is of another version.
        lzma.LZMAError, UnicodeDecodeError: if it is damaged.
    """
    if path.name.endswith(KEPT_SUFFIX):
        content = lzma.decompress(content)
    try:
        # half of the time of reading text first; what it refuses, the other one explains
        record = RunRecord.model_validate_json(content)
    except ValidationError:
        return RunRecord.parse(content.decode(), path)
    if record.schema_version != SCHEMA_VERSION:
        return RunRecord.parse(content.decode(), path)
    return record


def extract(record: RunRecord) -> Extract:
    """The rows of a record.

    Args:
        record: In any state.
    """
    status = [cell.status for cell in record.cells]
    git = record.environment.get("git") or {}
    run: dict[str, Value] = {
        "recipe": record.name,
        "recipe_fingerprint": record.recipe_fingerprint,
        "model": _model(record.recipe),
        "status": record.status,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "synthetic_data": record.synthetic_data,
        "commit": _text(git.get("commit")),
        "device": _text(record.environment.get("device")),
        "num_cells": len(status),
        "num_done_cells": status.count("done"),
        "num_failed_cells": status.count("failed"),
        "num_failed_checks": len(record.failed_checks()),
        **_headline(record),
        "error": record.error,
    }
    return Extract(run, [_cell(one) for one in record.cells], [_measured(c) for c in record.cells])


def _model(recipe: dict[str, Any]) -> str | None:
    """What a recipe prunes, trains or compares; several with commas."""
    named = recipe.get("model") or {}
    one = named.get("pretrained") or named.get("architecture")
    if one:
        return str(one)
    compared = (recipe.get("compare") or {}).get("architectures") or {}
    tuned = (recipe.get("downstream") or {}).get("models") or {}
    return ", ".join([*compared, *tuned]) or None


def _headline(record: RunRecord) -> dict[str, Value]:
    """The first metric of the recipe's first task, of the first cell that was measured."""
    tasks = (record.recipe.get("evaluate") or {}).get("tasks") or []
    for cell in record.cells:
        found = cell.evaluation.headline(tasks[0] if tasks else None) if cell.evaluation else None
        if found is not None:
            return {
                "headline_cell": cell.id,
                "headline_task": found.task,
                "headline_metric": found.metric,
                "headline": found.value,
            }
    return dict.fromkeys(("headline_cell", "headline_task", "headline_metric", "headline"))


def _cell(cell: CellRecord) -> dict[str, Value]:
    prune, recover, arm = cell.prune_spec or {}, cell.recover_spec or {}, cell.arm
    granularity = prune.get("granularity")
    return {
        "cell": cell.id,
        "cell_status": cell.status,
        "arm": arm.name if arm else None,
        "arm_seed": arm.seed if arm else None,
        "learning_rate": arm.learning_rate if arm else None,
        "is_tuning": arm.is_tuning if arm else None,
        "fine_tuned_on": cell.fine_tuned_on,
        "variant": prune.get("variant"),
        "scorer": prune.get("scorer"),
        "granularity": "+".join(granularity) if isinstance(granularity, list) else granularity,
        "fraction": prune.get("fraction"),
        "form": prune.get("form"),
        "prune_seed": prune.get("seed"),
        "calibration_seed": (prune.get("calibration") or {}).get("seed"),
        "recovery": recover.get("variant"),
        "recovery_seed": (recover.get("train") or {}).get("seed"),
        "cell_failed_checks": sum(not check.passed for check in cell.checks),
        "evaluation_seconds": cell.evaluation.seconds if cell.evaluation else None,
        "cell_error": cell.error,
    }


def _measured(cell: CellRecord) -> list[Measured]:
    return [
        Measured(one.task, one.metric, one.filter, one.higher_is_better, one.value, one.stderr)
        for one in (cell.evaluation.measurements if cell.evaluation else ())
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
