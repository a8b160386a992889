"""Small records, built in code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.record import CellRecord, Check, EvaluationReport, Measurement, RunRecord
from tests.reporting.records import TASK, toy_record

Layers = list[list[float]]
MakeCell = Callable[..., CellRecord]
MakeRecord = Callable[..., RunRecord]


def _evaluation(values: dict[str, float], stderr: float | None, task: str) -> EvaluationReport:
    return EvaluationReport(
        measurements=[
            Measurement(
                task=task,
                metric=metric,
                value=value,
                stderr=None if metric.startswith("floor") else stderr,
                higher_is_better=False,
            )
            for metric, value in values.items()
        ],
        not_measured={f"{task}/acc": "the task | returned nothing"},
        task_hashes={task: "ab" * 8},
        num_documents={task: 50},
        max_length=128,
        seconds=1.5,
        lm_eval={},
    )


def _prune_report(fraction: float, plan: dict[str, Any]) -> dict[str, Any]:
    num_removed = round(8 * fraction)
    return {
        "num_parameters_before": 12000,
        "num_parameters_after": 12000 - 1000 * num_removed,
        "num_removed": {"head": num_removed},
        "num_before": {"head": 8},
        "plan": plan,
    }


@pytest.fixture
def make_cell() -> MakeCell:
    """Builds a cell; without `scorer` it is the dense one, without `values` it has no result."""

    def make(
        values: dict[str, float] | float | None = None,
        scorer: str | None = None,
        fraction: float = 0.0,
        seed: int = 0,
        *,
        stderr: float | None = 0.5,
        error: str | None = None,
        task: str = TASK,
        checks: Sequence[Check] = (),
        calibration_seed: int | None = None,
        scope: str = "local",
        scores: Layers | dict[str, Layers] | None = None,
        errors: Layers | None = None,
        removed: dict[str, list[str]] | None = None,
        halves: float | None = None,
    ) -> CellRecord:
        if isinstance(values, float):
            values = {"token_perplexity": values}
        spec: dict[str, Any] | None = None
        if scorer is not None:
            spec = {"scorer": scorer, "fraction": fraction, "seed": seed, "form": "remove"}
            calibration = {"corpus": "toy", "seed": calibration_seed}
            spec |= {"granularity": "head", "scope": scope}
            spec |= {"calibration": None if calibration_seed is None else calibration}
        draw = f"seed{seed}" if calibration_seed is None else f"cal{calibration_seed}"
        plan = {
            "scores": {"head": scores} if isinstance(scores, list) else scores,
            "score_errors": None if errors is None else {"head": errors},
        }
        report = _prune_report(fraction, plan) | {"selection_overlap": halves}
        return CellRecord(
            id="dense" if scorer is None else f"{scorer}-{fraction:g}-{draw}",
            status="failed" if error else "done",
            prune_spec=spec,
            prune=spec and report | ({} if removed is None else {"removed": removed}),
            evaluation=None if values is None else _evaluation(values, stderr, task),
            checks=list(checks),
            error=error,
        )

    return make


@pytest.fixture
def make_record() -> MakeRecord:
    """Builds a record of the given cells; keywords replace its fields."""

    def make(cells: Sequence[CellRecord], **fields: Any) -> RunRecord:
        prune = {"scorers": ["magnitude"], "fractions": [0.0, 0.25, 0.5]}
        return toy_record(cells, {"prune": prune}, **fields)

    return make


@pytest.fixture
def cells(make_cell: MakeCell) -> list[CellRecord]:
    """The dense model and one scorer at two fractions."""
    return [
        make_cell(20.0),
        make_cell(22.0, "magnitude", 0.25),
        make_cell(30.0, "magnitude", 0.5),
    ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[RunRecord], Path]:
    """Writes a record into the test's folder and returns the folder."""

    def write_record(record: RunRecord) -> Path:
        record.write(tmp_path)
        return tmp_path

    return write_record
