"""The train stage: a causal LM from scratch on packed blocks, by HF Trainer (so Accelerate).

What we add to Trainer: the order of the data depends on the spec's seed and on nothing about the
model; every step has a whole batch; training that diverges stops with its history; a killed run
goes on from its last complete checkpoint, bit for bit; and speed, memory and operations are
measured, not estimated.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerState,
)

from sentinel_research.data.training_set import whole_batches
from sentinel_research.errors import DataError, DivergedError
from sentinel_research.memory import PeakMemory
from sentinel_research.models import kernels_of
from sentinel_research.models.agency import describe_agency
from sentinel_research.models.flops import TrainingFlops, training_flops
from sentinel_research.progress import Progress, Silent
from sentinel_research.specs import TrainSpec
from sentinel_research.training.adjust import Adjustments, UpdateScaling
from sentinel_research.training.agency import agency_callbacks
from sentinel_research.training.resume import Finished, checkpoint, finished, last_checkpoint
from sentinel_research.training.settings import check_settings, training_arguments
from sentinel_research.training.stability import stability
from sentinel_research.training.watch import (
    DivergenceError,
    Watch,
    training_history,
    validation_history,
)

Blocks = Int64[np.ndarray, "num_blocks sequence_length"]
# official Mamba marks it so: decay would pull every half-life towards one token
_NEVER_DECAYED = ("A_log",)


class _Blocks(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Packed token blocks `[num_sequences, sequence_length]` as Trainer's examples."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = torch.from_numpy(blocks.astype(np.int64))

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        block = self._blocks[index]
        return {"input_ids": block, "labels": block}


class _Trainer(Trainer):
    """Trainer whose weight decay leaves vectors alone: biases, norms, time constants, gates.

    Args:
        adjustments: To the loss.
        scaling: Of the updates.
        options: Trainer's own.
    """

    def __init__(self, adjustments: Adjustments, scaling: UpdateScaling, **options: Any) -> None:
        super().__init__(**options)
        self._adjustments, self._scaling = adjustments, scaling

    def create_optimizer(self, *args: Any, **options: Any) -> torch.optim.Optimizer:
        """Trainer's own optimiser, with scaled updates."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **options)
        if is_new:
            self._scaling.attach(optimizer)
        return optimizer

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The model's own loss; in training with the adjustments' terms."""
        if not model.training or not self._adjustments.loss_terms:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {**inputs, **self._adjustments.forward_arguments}
        loss, outputs = super().compute_loss(model, given, True, num_items_in_batch)
        for term in self._adjustments.loss_terms:
            loss = term(model, inputs, outputs, loss)
        return (loss, outputs) if return_outputs else loss

    def restore(self, done: Finished) -> None:
        """Take over what a training ended with."""
        self.state = done.state
        self._load_from_checkpoint(done.weights)

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Names of Trainer's own choice that are matrices."""
        parameters = dict(model.named_parameters(remove_duplicate=False))
        return [
            name
            for name in super().get_decay_parameter_names(model)
            if parameters[name].ndim > 1 and name.rpartition(".")[2] not in _NEVER_DECAYED
        ]


class _Measured:
    """Time, memory and operations of one process' part of a training."""

    def __init__(self, device: str, flops: TrainingFlops) -> None:
        self.memory = PeakMemory(device)
        self.flops = flops
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def report(self, spec: TrainSpec, num_steps: int) -> dict[str, Any]:
        """What to record after `num_steps` steps in this process."""
        seconds = time.perf_counter() - self._wall
        num_tokens = num_steps * spec.batch_size * self.flops.sequence_length
        return {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - self._cpu,
            "num_steps_timed": num_steps,
            "tokens_per_second": num_tokens / seconds,
            "memory": {
                "kind": self.memory.kind,
                "before_bytes": self.memory.before_bytes,
                "peak_bytes": self.memory.peak_bytes,
                "absent": self.memory.absent,
            },
            "flops_per_step": {
                "forward": self.flops.forward * spec.batch_size,
                "backward": self.flops.backward * spec.batch_size,
            },
            "flops_per_token": self.flops.per_token,
        }


def train(
    model: PreTrainedModel,
    spec: TrainSpec,
    blocks: Blocks,
    folder: Path,
    *,
    validation: Blocks | None = None,
    progress: Progress | None = None,
    adjustments: Adjustments | None = None,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Train a causal LM in place.

    Args:
        model: Untrained model on its device.
        spec: Steps, batch, learning rate, precision, seed.
        blocks: Token ids `[num_sequences, sequence_length]`, in a new order in every pass over
            them. The last ones that do not fill a batch are never used: all steps are alike.
        folder: Checkpoints go here; an interrupted run with the same folder resumes.
        validation: Token ids of the same length for `spec.validate_every`.
        progress: Who is told about every step.
        adjustments: What a recovery changes about losses and updates.

    Returns:
        The model in evaluation mode, and the stage report. Losses are nats per token; `seconds`,
        `tokens_per_second` (input tokens, validation and checkpoints included in the time) and
        `memory` are of this process, which did `num_steps_timed` of the steps.

    Raises:
        UsageError: for a precision or an option that device or model lack.
        DataError: with fewer blocks than one batch, or none to validate on.
        DivergedError: if loss or gradient stop being finite, or the loss exceeds
            `spec.max_loss_ratio`; with the report up to there.
    """
    blocks = whole_batches(blocks, spec.batch_size)
    if (spec.validate_every is None) != (validation is None):
        raise DataError(
            f"`train.validate_every` is {spec.validate_every}, and blocks to validate on were "
            f"{'not ' if validation is None else ''}given",
            "give both or neither",
        )
    check_settings(model, spec)
    if spec.gradient_checkpointing:
        # the reentrant kind gives no gradient to inputs that need none
        model.activation_checkpointing_enable({"use_reentrant": False})
    watch = Watch(progress or Silent(), spec.max_loss_ratio)
    adjustments = adjustments or Adjustments()
    scaling = UpdateScaling(model, adjustments.factors)
    trainer = _Trainer(
        adjustments,
        scaling,
        model=model,
        args=training_arguments(spec, folder, model.device),
        train_dataset=_Blocks(blocks),
        eval_dataset=None if validation is None else _Blocks(validation),
        callbacks=[
            watch,
            *agency_callbacks(model, blocks),
            *([EarlyStoppingCallback(spec.patience)] if spec.patience else []),
            *adjustments.callbacks,
        ],
    )
    # every model's own mean over the tokens of its batch: Trainer would else divide by a count that
    # depends on the name of the class, and expect families to use it that ignore it
    trainer.model_accepts_loss_kwargs = False
    # progress and the record say what it would print
    trainer.remove_callback(PrinterCallback)
    first_step, last = last_checkpoint(folder) or (0, None)
    done = finished(folder, spec)
    measured = _Measured(str(model.device), training_flops(model, blocks.shape[1]))
    diverged: DivergenceError | None = None
    with measured.memory, scaling.frozen():
        try:
            if done is None:
                trainer.train(resume_from_checkpoint=checkpoint(last) if last else None)
            else:
                trainer.restore(done)
        except DivergenceError as error:
            diverged = error
    if spec.gradient_checkpointing:
        model.activation_checkpointing_disable()
    model.eval()
    own = measured.report(spec, trainer.state.global_step - first_step)
    report = {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "num_trained_parameters": scaling.num_moving(model),
        "kernels": kernels_of(model),
        "num_blocks": len(blocks),
        "resumed": last is not None,
        "num_skipped_steps": watch.num_skipped_steps,
        **_learnt(trainer.state, spec, blocks.shape[1]),
        **own,
        **describe_agency(model),
    }
    if diverged is not None:
        raise _diverged(diverged, spec, report)
    return model, report


def _learnt(state: TrainerState, spec: TrainSpec, sequence_length: int) -> dict[str, Any]:
    """The part of the report that does not depend on how often training was interrupted."""
    validation = validation_history(state)
    return {
        "corpus": spec.corpus,
        "precision": spec.precision,
        "num_steps": state.global_step,
        "num_tokens": state.global_step * spec.batch_size * (sequence_length - 1),
        "losses": training_history(state),
        "validation": validation,
        "stability": stability(state),
        **_kept(validation, state.global_step, spec),
    }


def _diverged(error: DivergenceError, spec: TrainSpec, report: dict[str, Any]) -> DivergedError:
    return DivergedError(
        f"training diverged: {error.reason} after step {error.step} of {spec.num_steps}; "
        f"losses before: {[round(one['loss'], 4) for one in report['losses'][-6:]]}",
        error.hint,
        {**report, "diverged": {"step": error.step, "reason": error.reason}},
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
