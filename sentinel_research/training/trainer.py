"""The train stage: a causal LM from scratch on packed blocks, by HF Trainer (so Accelerate).

What we add to Trainer: the order of the data depends on the spec's seed and on nothing about the
model; every step has a whole batch; training that diverges stops with its history; a killed run
goes on from its last complete checkpoint, bit for bit; and speed, memory and operations are
measured, not estimated.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerState,
)

from sentinel_research import distributed
from sentinel_research.data.training_set import IGNORED, whole_batches
from sentinel_research.errors import DataError, DivergedError, UsageError
from sentinel_research.models import kernels_of
from sentinel_research.models.agency import describe_agency
from sentinel_research.models.flops import training_flops
from sentinel_research.progress import Progress, Silent, piece
from sentinel_research.specs import TrainSpec
from sentinel_research.training.adjust import Adjustments, UpdateScaling
from sentinel_research.training.agency import agency_callbacks
from sentinel_research.training.aloud import aloud
from sentinel_research.training.checkpoints import last_checkpoint, open_folder, step_of
from sentinel_research.training.hf_trainer import AdjustedTrainer, BlockDataset, collate
from sentinel_research.training.measured import Measured
from sentinel_research.training.samples import SampleCallback, encoded_prompts, written
from sentinel_research.training.settings import check_settings, training_arguments
from sentinel_research.training.sharded import (
    device_of_training,
    divide,
    divided_here,
    give_back,
)
from sentinel_research.training.stability import stability
from sentinel_research.training.watch import (
    DivergenceError,
    Watch,
    training_history,
    validation_history,
)

_OF_WHOLE_BLOCKS = ("tokens_per_second", "flops_per_step")
Blocks = Int64[np.ndarray, "num_blocks sequence_length"]
Labels = Int64[np.ndarray, "num_blocks sequence_length"]


def train(
    model: PreTrainedModel,
    spec: TrainSpec,
    blocks: Blocks,
    folder: Path,
    *,
    validation: Blocks | None = None,
    labels: Labels | None = None,
    validation_labels: Labels | None = None,
    progress: Progress | None = None,
    adjustments: Adjustments | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    title: str = "training",
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Train a causal LM in place.

    In several processes all of them call this with the same arguments, and end with the same bits.
    Under FSDP each trains a part of the weights, see `sharded`, and the model has none meanwhile.

    Args:
        model: Untrained model on its device.
        spec: Steps, batch of all processes together, learning rate, precision, seed.
        blocks: Token ids `[num_sequences, sequence_length]`, in a new order in every pass over
            them. The last ones that do not fill a batch are never used: all steps are alike.
        folder: Checkpoints go here; an interrupted run with the same folder resumes.
        validation: Token ids of the same length for `spec.validate_every`.
        labels: Tokens to predict, where they are not the blocks' own: -100 is no token. What is
            behind the last one of a batch is not computed. States of agency gates stay as they are
            then, and their penalty is left out.
        validation_labels: Likewise for `validation`; given if and only if `labels` are.
        progress: Who is told about every step.
        adjustments: What a recovery changes about losses and updates.
        tokenizer: The model's, for `spec.samples`.
        title: What is trained, for people.

    Returns:
        The model in evaluation mode, and the stage report. Losses are nats per token; `seconds`,
        `tokens_per_second` (input tokens, validation and checkpoints included in the time) and
        `memory` are of this process, which did `num_steps_timed` of the steps; tokens, operations
        and `cpu_seconds` are of all `num_processes`. With labels there are neither
        `tokens_per_second` nor `flops_per_step`.

    Raises:
        UsageError: for a precision or an option that device or model lack, or a folder with
            checkpoints of another request or model.
        DataError: with fewer blocks than one batch, or none to validate on.
        DivergedError: if loss or gradient stop being finite, or the loss exceeds
            `spec.max_loss_ratio`; with the report up to there.
    """
    adjustments = adjustments or Adjustments()

    def prepare() -> tuple[Blocks, UpdateScaling, list[SampleCallback], Path | None]:
        samples = check_training(model, spec, tokenizer, sequence_length=blocks.shape[1])
        used = whole_batches(blocks, spec.batch_size)
        _check_validation(spec, validation)
        scaling = UpdateScaling(model, adjustments.factors, adjustments.changing)
        return used, scaling, samples, open_folder(folder, spec, model)

    # what one process lacks must not leave the others waiting for its first gradient
    blocks, scaling, samples, resumed_from = distributed.together(prepare)
    if spec.gradient_checkpointing:
        # the reentrant kind gives no gradient to inputs that need none
        model.activation_checkpointing_enable({"use_reentrant": False})
    num_moving, flops = scaling.num_moving(model), training_flops(model, blocks.shape[1])
    args = training_arguments(spec, folder, device_of_training(model))
    trained = model
    if distributed.divides_weights():
        trained = divide(model, args.device)
        scaling = UpdateScaling(trained, adjustments.factors)
    first_step = step_of(resumed_from)
    watch = Watch(progress or Silent(), spec.max_loss_ratio, spec.batch_size * blocks.shape[1])
    callbacks = [
        watch,
        # what is padded says nothing about heads
        *(agency_callbacks(model, blocks) if labels is None else ()),
        *([EarlyStoppingCallback(spec.patience)] if spec.patience else []),
        *adjustments.callbacks,
        *samples,
        # behind those whose texts it reads out
        *aloud(spec, blocks, tokenizer, progress),
    ]
    trainer = _trainer(
        spec,
        adjustments=adjustments,
        scaling=scaling,
        is_divided=trained is not model,
        model=trained,
        args=args,
        train_dataset=BlockDataset(blocks, None if labels is None else labels[: len(blocks)]),
        eval_dataset=None if validation is None else BlockDataset(validation, validation_labels),
        data_collator=None if labels is None else collate,
        callbacks=callbacks,
    )
    measured = Measured(str(args.device), flops)
    inner = piece(progress or Silent(), title, spec.num_steps, done=first_step)
    with measured.memory, scaling.frozen(), inner:
        diverged = _run(trainer, resumed_from)
    if trained is not model:
        give_back(trained, model)
    if spec.gradient_checkpointing:
        model.activation_checkpointing_disable()
    # autocast is for training: what is measured next is what a checkpoint of it computes
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    model.eval()
    own = measured.report(spec, trainer.state.global_step - first_step)
    if labels is not None:
        # batches are of different lengths: what one of the longest would cost says nothing
        own = {name: value for name, value in own.items() if name not in _OF_WHOLE_BLOCKS}
    report = {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "num_trained_parameters": num_moving,
        "kernels": kernels_of(model),
        "num_blocks": len(blocks),
        "resumed": resumed_from is not None,
        "num_skipped_steps": watch.num_skipped_steps,
        **_learnt(trainer.state, spec, _predicted(blocks, labels)),
        **own,
        **describe_agency(model),
    }
    if diverged is not None:
        raise _diverged(diverged, spec, report, last_checkpoint(folder))
    return model, report


def check_training(
    model: PreTrainedModel,
    spec: TrainSpec,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    sequence_length: int | None = None,
) -> list[SampleCallback]:
    """Refuse a training that this model, device or number of processes cannot do.

    Args:
        model: On its device.
        spec: What is asked for.
        tokenizer: The model's, for `spec.samples`.
        sequence_length: Tokens of the blocks; those of the spec by default.

    Returns:
        What writes the samples that the spec asks for; nothing for a spec without.

    Raises:
        UsageError: see `settings.check_settings` and `samples.encoded_prompts`.
    """
    check_settings(model, spec, sequence_length or spec.sequence_length)
    if spec.samples is None:
        return []
    if tokenizer is None:
        raise UsageError(
            "`train.samples` asks for texts, and no tokenizer was given", "give `tokenizer`"
        )
    prompts = encoded_prompts(model, spec.samples, tokenizer)
    return [SampleCallback(spec.samples, tokenizer, prompts)]


def _check_validation(spec: TrainSpec, validation: Blocks | None) -> None:
    if (spec.validate_every is None) != (validation is None):
        raise DataError(
            f"`train.validate_every` is {spec.validate_every}, and blocks to validate on were "
            f"{'not ' if validation is None else ''}given",
            "give both or neither",
        )


def _trainer(spec: TrainSpec, **options: Any) -> AdjustedTrainer:
    with divided_here():
        trainer = AdjustedTrainer(**options)
    if trainer.args.world_size != distributed.num_processes():
        raise UsageError(
            f"{trainer.args.world_size} processes were started in a way that does not name them",
            "start them by torchrun",
        )
    # every model's own mean over the tokens of its batch: Trainer would else divide by a count that
    # depends on the name of the class, and expect families to use it that ignore it
    trainer.model_accepts_loss_kwargs = False
    # progress and the record say what it would print
    trainer.remove_callback(PrinterCallback)
    index = distributed.process_index()
    if index:
        # Trainer seeds all processes alike, and their dropout and gates would be the same noise
        torch.manual_seed(int(np.random.SeedSequence((spec.seed, index)).generate_state(1)[0]))
    return trainer


def _run(trainer: AdjustedTrainer, resumed_from: Path | None) -> DivergenceError | None:
    """Train to the end, from a checkpoint if there is one."""
    checkpoint = None if resumed_from is None else str(resumed_from)
    try:
        with divided_here():
            trainer.train(resume_from_checkpoint=checkpoint)
    except DivergenceError as error:
        return error
    return None


def _predicted(blocks: Blocks, labels: Labels | None) -> float:
    """Tokens that a sequence is trained on, in the mean."""
    if labels is None:
        return blocks.shape[1] - 1
    return float((labels[: len(blocks), 1:] != IGNORED).sum() / len(blocks))


def _learnt(state: TrainerState, spec: TrainSpec, predicted: float) -> dict[str, Any]:
    """The part of the report that does not depend on how often training was interrupted."""
    validation = validation_history(state)
    return {
        "corpus": spec.corpus,
        "precision": spec.precision,
        "num_steps": state.global_step,
        "num_tokens": round(state.global_step * spec.batch_size * predicted),
        "losses": training_history(state),
        "validation": validation,
        "samples": written(state),
        "stability": stability(state),
        **_kept(validation, state.global_step, spec),
    }


def _diverged(
    error: DivergenceError, spec: TrainSpec, report: dict[str, Any], checkpoint: Path | None
) -> DivergedError:
    kept = "no checkpoint was written before" if checkpoint is None else ""
    return DivergedError(
        f"training diverged: {error.reason} after step {error.step} of {spec.num_steps}; "
        f"losses before: {[round(one['loss'], 4) for one in report['losses'][-6:]]}; "
        f"{kept or f'the last good checkpoint, of step {step_of(checkpoint)}, is {checkpoint}'}",
        error.hint,
        {
            **report,
            "diverged": {
                "step": error.step,
                "reason": error.reason,
                "last_checkpoint": None if checkpoint is None else str(checkpoint),
            },
        },
    )


def _kept(losses: list[dict[str, Any]], num_steps: int, spec: TrainSpec) -> dict[str, Any]:
    """Which weights training ends with, and their validation loss; None without validation."""
    if not losses:
        return {"best_step": None, "kept_step": num_steps, "validation_loss": None}
    best = min(losses, key=lambda entry: entry["loss"])
    kept = best if spec.keep == "best" else losses[-1]
    return {
        "best_step": best["step"],
        "kept_step": kept["step"],
        "validation_loss": kept["loss"],
    }
