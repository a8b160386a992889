"""Records of recoveries, built in code."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sentinel_research.record import CellRecord, EvaluationReport, Measurement, RunRecord
from sentinel_research.reporting.recovery.results import TaskRecoveries, task_recoveries
from tests.reporting.records import TASK, toy_record

SEEDS = (0, 1, 2)
Values = Sequence[float | None]
TRAIN: dict[str, Any] = {
    "corpus": "toy",
    "shares": None,
    "num_steps": 10,
    "batch_size": 4,
    "sequence_length": 9,
    "learning_rate": 0.01,
    "patience": None,
    "seed": 0,
}
FULL: dict[str, Any] = {"full": {}}
HEADS: dict[str, Any] = {"heads": {}}


def evaluation(
    value: float, *, metric: str = "token_perplexity", stderr: float | None = 0.001
) -> EvaluationReport:
    """One measurement of the toy task."""
    one = Measurement(
        task=TASK,
        metric=metric,
        value=value,
        stderr=stderr,
        higher_is_better=not metric.endswith("perplexity"),
    )
    return EvaluationReport(
        measurements=[one],
        task_hashes={TASK: "ab"},
        num_documents={TASK: 5},
        max_length=8,
        seconds=1.0,
        lm_eval={},
    )


def prune_spec(scorer: str, fraction: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A PruneSpec as JSON."""
    base = {"scorer": scorer, "fraction": fraction, "seed": seed, "calibration": None}
    return {**base, "form": "remove", "granularity": "head", "scope": "local", **more}


HALF = prune_spec("magnitude", 0.5)


def before(value: float | None, spec: dict[str, Any] | None = None, **more: Any) -> CellRecord:
    """The dense model, or a model as pruning left it."""
    name = "dense" if spec is None else f"{spec['scorer']}-{spec['fraction']}-seed{spec['seed']}"
    return CellRecord(
        id=name,
        status="failed" if value is None else "done",
        prune_spec=spec,
        evaluation=None if value is None else evaluation(value, **more),
    )


def report(num_steps: int = 10, **more: Any) -> dict[str, Any]:
    """A recover stage's report of one phase."""
    phase = {
        "name": "whole",
        "num_steps": num_steps,
        "num_tokens": num_steps * 32,
        "num_parameters": 1000,
        "num_trained_parameters": 400,
        "seconds": 2.0,
        "losses": [{"step": 1, "loss": 3.0}, {"step": num_steps, "loss": 2.0}],
        "validation": [{"step": num_steps, "loss": 2.5}],
    }
    return {"methods": FULL, "data": {"blocks_sha256": "c" * 64}, "phases": [phase | more]}


def after(
    value: float | None,
    seed: int,
    spec: dict[str, Any] | None = None,
    *,
    recovery: str = "full",
    methods: Mapping[str, Any] = FULL,
    train: Mapping[str, Any] = {},
    error: str | None = None,
    **more: Any,
) -> CellRecord:
    """The dense model or a pruned one after a recovery."""
    start = before(1.0, spec).id
    return CellRecord(
        id=f"{start}+{recovery}-seed{seed}",
        status="failed" if value is None else "done",
        prune_spec=spec,
        recover_spec={
            "methods": dict(methods),
            "train": {**TRAIN, **train, "seed": seed},
            "variant": recovery,
        },
        recover=report(),
        evaluation=None if value is None else evaluation(value, **more),
        error=error,
    )


def recovered(values: Values, spec: dict[str, Any] | None = None, **more: Any) -> list[CellRecord]:
    """A recovery over seeds; null is a cell that failed."""
    return [
        after(value, seed, spec, error=None if value else "killed", **more)
        for seed, value in zip(SEEDS, values, strict=False)
    ]


def record_of(cells: Sequence[CellRecord], **fields: Any) -> RunRecord:
    """A finished run of these cells."""
    prune = {"scorers": ["magnitude"], "fractions": [0.5]}
    return toy_record(cells, {"prune": prune, "recover": {"train": TRAIN}}, **fields)


def nats(*losses: float) -> list[float]:
    """Perplexities of these losses."""
    return [math.exp(loss) for loss in losses]


def found_in(cells: list[CellRecord]) -> TaskRecoveries:
    """The recoveries of a run of these cells."""
    result = task_recoveries(record_of(cells), TASK)
    assert result is not None
    return result


def run_of(
    dense: float, control: list[float], pruned: float, regained: list[float | None]
) -> list[CellRecord]:
    """Dense, its control, a pruning and its recovery, all in nats."""
    values = [None if one is None else math.exp(one) for one in regained]
    return [
        before(math.exp(dense)),
        before(math.exp(pruned), HALF),
        *recovered(nats(*control)),
        *recovered(values, HALF),
    ]
