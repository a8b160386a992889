"""One fine-tuning: every learning rate of the grid, and the weights of the lowest held-out loss."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research import distributed
from sentinel_research.data.training_set import whole_batches
from sentinel_research.downstream.documents import AnswerSet
from sentinel_research.errors import DivergedError
from sentinel_research.progress import Progress
from sentinel_research.specs import DownstreamSpec, TrainSpec
from sentinel_research.training import train


class FineTuned(NamedTuple):
    """What `fine_tune` returns."""

    model: PreTrainedModel
    """In evaluation mode."""
    learning_rate: float
    """The chosen one."""
    report: dict[str, Any]
    """The train report of the chosen rate, with `data`, and `held_out_losses` by rate."""


def fine_tune(
    load: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    spec: DownstreamSpec,
    answers: AnswerSet,
    *,
    unit: str,
    seed: int,
    folder: Path,
    progress: Progress,
    title: str,
) -> FineTuned:
    """Fine-tune a model with every learning rate, and keep the best by the held-out documents.

    Args:
        load: Gives the model to start from, anew for every rate.
        tokenizer: The models'.
        spec: The budget.
        answers: What to learn.
        unit: Its name, for the record.
        seed: Order of the documents and dropout.
        folder: Checkpoints go here; an interrupted fine-tuning with the same folder resumes.
        progress: Who is told about every step.
        title: What is fine-tuned, for people.

    Raises:
        UsageError, DataError: see `training.train`.
        DivergedError: if training diverged with every rate; with the report of the last.
    """
    best: FineTuned | None = None
    losses: dict[str, float | None] = {}
    diverged: DivergedError | None = None
    for rate in spec.rates:
        try:
            model, report = train(
                distributed.together(load),
                train_spec(spec, answers, unit, seed, rate),
                answers.blocks,
                folder / f"lr{rate!r}",
                validation=answers.validation,
                labels=answers.labels,
                validation_labels=answers.validation_labels,
                progress=progress,
                tokenizer=tokenizer,
                title=title if len(spec.rates) == 1 else f"{title}, rate {rate:g}",
            )
        except DivergedError as error:
            losses[repr(rate)], diverged = None, error
            continue
        losses[repr(rate)] = report["validation_loss"]
        if best is None or report["validation_loss"] < best.report["validation_loss"]:
            best = FineTuned(model, rate, report)
    if best is None:
        assert diverged is not None  # every rate ended in one way or the other
        raise diverged
    return best._replace(report={**best.report, "data": answers.report, "held_out_losses": losses})


def train_spec(
    spec: DownstreamSpec, answers: AnswerSet, unit: str, seed: int, rate: float
) -> TrainSpec:
    """The training of one fine-tuning.

    Args:
        spec: The budget.
        answers: What to learn; gives the steps of a pass.
        unit: Its name.
        seed: Order of the documents and dropout.
        rate: Peak learning rate.

    Raises:
        DataError: if the documents do not fill a batch.
    """
    per_pass = len(whole_batches(answers.blocks, spec.train.batch_size)) // spec.train.batch_size
    return TrainSpec(
        **{**spec.train.model_dump(), "learning_rate": rate},
        corpus=unit,
        num_steps=spec.epochs * per_pass,
        sequence_length=answers.blocks.shape[1],
        validate_every=per_pass,
        keep="best",
        seed=seed,
    )


def forget(folder: Path) -> None:
    """Delete the checkpoints of a fine-tuning whose result is recorded."""
    if distributed.is_main():
        shutil.rmtree(folder, ignore_errors=True)
