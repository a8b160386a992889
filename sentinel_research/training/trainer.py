"""The train stage: a causal LM from scratch on packed blocks, by HF Trainer (so Accelerate).

We add three things to Trainer: the data order is fixed by the spec's seed, a loss that is not
finite stops training with what was seen so far, and a killed run goes on from its last checkpoint.
"""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from sentinel_research.errors import DataError, DivergedError
from sentinel_research.models.agency import describe_agency
from sentinel_research.progress import Progress, Silent
from sentinel_research.specs import TrainSpec
from sentinel_research.training.agency import agency_callbacks

_CHECKPOINTS_PER_RUN = 5
_LOGS_PER_RUN = 40


class _Blocks(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Packed token blocks `[num_sequences, sequence_length]` as Trainer's examples."""

    def __init__(self, blocks: np.ndarray) -> None:
        self._blocks = torch.from_numpy(blocks.astype(np.int64))

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        block = self._blocks[index]
        return {"input_ids": block, "labels": block}


class _Report(TrainerCallback):
    """Tells about every step, and stops training that has diverged."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        losses = [entry["loss"] for entry in state.log_history[-1:] if "loss" in entry]
        self._progress.advance(f"loss {losses[0]:.3f}" if losses else "")

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            history = [entry["loss"] for entry in state.log_history if "loss" in entry]
            raise DivergedError(
                f"the training loss is {loss} at step {state.global_step}; before: "
                f"{[round(value, 4) for value in history[-6:-1]]}",
                "lower `train.learning_rate` or lengthen `train.warmup_fraction`",
            )


def train(
    model: PreTrainedModel,
    spec: TrainSpec,
    blocks: np.ndarray,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Train a causal LM in place.

    Args:
        model: Untrained model on its device.
        spec: Steps, batch, learning rate, seed.
        blocks: Token ids `[num_sequences, sequence_length]`.
        folder: Checkpoints go here; an interrupted run with the same folder resumes.
        progress: Who is told about every step.

    Returns:
        The model in evaluation mode, and the stage report (loss history in nats per token).

    Raises:
        DataError: with fewer blocks than one batch.
        DivergedError: if the loss stops being finite.
    """
    if len(blocks) < spec.batch_size:
        raise DataError(
            f"the training split gives {len(blocks)} blocks of {blocks.shape[1]} tokens, "
            f"fewer than one batch of {spec.batch_size}",
            "lower `train.batch_size` or `train.sequence_length`",
        )
    start = time.perf_counter()
    trainer = Trainer(
        model=model,
        args=_arguments(spec, folder, model.device),
        train_dataset=_Blocks(blocks),
        callbacks=[_Report(progress or Silent()), *agency_callbacks(model, blocks)],
    )
    # progress and the record say what it would print
    trainer.remove_callback(PrinterCallback)
    resumed_from = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=resumed_from)
    model.eval()
    losses = [
        {"step": int(entry["step"]), "loss": float(entry["loss"])}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    report = {
        "corpus": spec.corpus,
        "num_steps": trainer.state.global_step,
        "num_tokens": trainer.state.global_step * spec.batch_size * (blocks.shape[1] - 1),
        "num_blocks": len(blocks),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "losses": losses,
        "resumed": resumed_from is not None,
        "seconds": time.perf_counter() - start,
    }
    return model, {**report, **describe_agency(model)}


def _arguments(spec: TrainSpec, folder: Path, device: torch.device) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=spec.num_steps,
        per_device_train_batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(spec.warmup_fraction * spec.num_steps),
        weight_decay=spec.weight_decay,
        max_grad_norm=1.0,
        seed=spec.seed,
        data_seed=spec.seed,
        logging_steps=max(1, spec.num_steps // _LOGS_PER_RUN),
        # a filtered NaN would hide a diverged run
        logging_nan_inf_filter=False,
        save_steps=max(1, spec.num_steps // _CHECKPOINTS_PER_RUN),
        save_total_limit=1,
        report_to="none",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type != "cpu",
        disable_tqdm=True,
    )
