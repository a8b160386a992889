"""Folders of runs that tests write by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.record import Arm, CellRecord, EvaluationReport, Measurement, RunRecord
from sentinel_research.specs import PruneSpec
from sentinel_research.store import index
from tests.reporting.records import toy_record

Values = dict[tuple[str, str], tuple[float, float | None]]
"""Task and metric -> value and standard error."""


def cell(name: str, values: Values | None = None, **fields: Any) -> CellRecord:
    """A cell; without values it was not measured."""
    evaluation = None
    if values is not None:
        evaluation = EvaluationReport(
            measurements=[
                Measurement(
                    task=task, metric=metric, value=value, stderr=stderr, higher_is_better=False
                )
                for (task, metric), (value, stderr) in values.items()
            ],
            task_hashes={},
            num_documents={},
            max_length=8,
            seconds=1.5,
            lm_eval={},
        )
    defaults: dict[str, Any] = {"status": "done", "prune_spec": None}
    return CellRecord(id=name, evaluation=evaluation, **{**defaults, **fields})


def pruned(name: str, scorer: str, fraction: float, values: Values | None = None) -> CellRecord:
    """A cell of a pruning."""
    spec = PruneSpec(scorer=scorer, fraction=fraction).model_dump(mode="json")
    return cell(name, values, prune_spec=spec)


def perplexity(value: float, stderr: float | None = 0.5) -> Values:
    return {("toy_task", "token_perplexity"): (value, stderr)}


def write(folder: Path, cells: Sequence[CellRecord] = (), **fields: Any) -> RunRecord:
    """Write the record of a run, as runs do."""
    folder.mkdir(parents=True, exist_ok=True)
    record = toy_record(cells, {}, **fields)
    record.write(folder)
    return record


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that changed a moment ago count as settled: tests do not wait two seconds."""
    monkeypatch.setattr(index, "_SETTLED_NS", 0)


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    """A folder with a pruning, a comparison and a run that failed."""
    root = tmp_path / "runs"
    mixed = {**perplexity(20.0), ("other_task", "acc"): (0.25, None)}
    cells = [
        cell("dense", perplexity(10.0)),
        pruned("random-0.5", "random", 0.5, mixed),
        pruned("entropy_low-0.25", "entropy_low", 0.25, perplexity(15.0)),
    ]
    write(root / "pruning", cells, name="pruning", started_at="2026-02-01T12:00:00+00:00")
    arms = [
        cell(
            f"{name}-seed{seed}",
            perplexity(5.0 + seed),
            arm=Arm(name=name, seed=seed, learning_rate=0.01),
        )
        for name in ("gpt2", "llama")
        for seed in (0, 1)
    ]
    recipe = {"model": {}, "compare": {"architectures": {"gpt2": {}, "llama": {}}}}
    write(
        root / "deep" / "er" / "comparison",
        arms,
        name="comparison",
        recipe=recipe,
        started_at="2026-03-01T12:00:00+00:00",
    )
    broken = pruned("wanda-0.5", "wanda", 0.5).model_copy(
        update={"status": "failed", "error": "the text was lost"}
    )
    write(
        root / "broken",
        [cell("dense", perplexity(10.0)), broken],
        name="broken",
        status="failed",
        started_at="2026-01-01T12:00:00+00:00",
    )
    return root
