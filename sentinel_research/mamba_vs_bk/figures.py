"""One trained model's figures, from the report of its training and its evaluation."""

import math
from typing import Any

from sentinel_research.mamba_vs_bk.schema import Figures, SeedResult
from sentinel_research.record import CellRecord, EvaluationReport, Measurement

MIB = 1 << 20
METRICS = ("bits_per_byte", "byte_perplexity", "token_perplexity", "word_perplexity")
"""Of lm-eval's metrics those that every dataset has; the record has all."""
_VALIDATION_END = "_validation"


def seed_result(cell: CellRecord, batch_size: int) -> SeedResult:
    """The figures of a cell that was trained and measured.

    Args:
        cell: With its arm, its train report and its evaluation.
        batch_size: Sequences of a step.
    """
    report, evaluation, arm = cell.train, cell.evaluation, cell.arm
    assert report is not None
    assert evaluation is not None
    assert arm is not None
    assert arm.seed is not None
    per_epoch = report["num_blocks"] // batch_size
    losses = epoch_losses(report["losses"], per_epoch)
    return SeedResult(
        cell=cell.id,
        seed=arm.seed,
        status="done" if cell.status == "done" else "failed",
        learning_rate=arm.learning_rate,
        final_loss=losses[-1],
        final_perplexity=math.exp(losses[-1]),
        best_perplexity=math.exp(report["validation_loss"]),
        training_time=report["seconds"],
        num_steps=report["num_steps"],
        num_epochs=report["num_steps"] / per_epoch,
        num_tokens=report["num_tokens"],
        tokens_per_second=report["tokens_per_second"],
        peak_memory_mb=_mebibytes(report["memory"]["peak_bytes"]),
        memory_before_mb=_mebibytes(report["memory"]["before_bytes"]),
        epoch_losses=losses,
        epoch_perplexities=[math.exp(loss) for loss in losses],
        epoch_validation_losses=[entry["loss"] for entry in report["validation"]],
        validation={"loss": report["validation_loss"], **split_figures(evaluation, "validation")},
        test=split_figures(evaluation, "test"),
        stderr_over_documents={
            split: _errors(evaluation, split) for split in ("validation", "test")
        },
        stability=report["stability"],
        kernels=report["kernels"],
    )


def epoch_losses(losses: list[dict[str, Any]], steps_per_epoch: int) -> list[float]:
    """Mean loss of every pass over the blocks, the last of which may be cut short.

    Args:
        losses: The log: mean loss of the steps since the entry before, and one at the end of every
            pass.
        steps_per_epoch: Steps of a pass.

    Example:
        >>> entries = [{"step": 1, "loss": 4.0}, {"step": 3, "loss": 1.0}, {"step": 4, "loss": 0.5}]
        >>> epoch_losses(entries, 3)
        [2.0, 0.5]
    """
    sums: dict[int, float] = {}
    steps: dict[int, int] = {}
    before = 0
    for entry in losses:
        number = entry["step"] - before
        epoch = (entry["step"] - 1) // steps_per_epoch
        sums[epoch] = sums.get(epoch, 0.0) + number * entry["loss"]
        steps[epoch] = steps.get(epoch, 0) + number
        before = entry["step"]
    return [sums[epoch] / steps[epoch] for epoch in sorted(sums)]


def split_figures(evaluation: EvaluationReport, split: str) -> Figures:
    """`METRICS` on one split.

    Args:
        evaluation: Of the two tasks of a dataset.
        split: `validation` or `test`.
    """
    return {one.metric: one.value for one in _measured(evaluation, split)}


def _errors(evaluation: EvaluationReport, split: str) -> Figures:
    found = _measured(evaluation, split)
    return {one.metric: one.stderr for one in found if one.stderr is not None}


def _measured(evaluation: EvaluationReport, split: str) -> list[Measurement]:
    is_validation = split == "validation"
    return [
        one
        for one in evaluation.measurements
        if one.metric in METRICS and one.task.endswith(_VALIDATION_END) == is_validation
    ]


def _mebibytes(number: int | None) -> float | None:
    return None if number is None else number / MIB
