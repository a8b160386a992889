"""From a TrainSpec to Trainer's arguments, and what a device or a model cannot do."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainingArguments

from sentinel_research import distributed
from sentinel_research.errors import UsageError
from sentinel_research.models import ANATOMIES, context_length
from sentinel_research.models.anatomy import family_of
from sentinel_research.specs import TrainSpec
from sentinel_research.training.compiled import check_compiler
from sentinel_research.training.sharded import check_divided

_CHECKPOINTS_PER_RUN = 5
_LOGS_PER_RUN = 40
_DECAY_SHARE = 0.2


def check_settings(model: PreTrainedModel, spec: TrainSpec, sequence_length: int) -> None:
    """Refuse what would otherwise fail in the middle, or quietly do something else.

    Args:
        model: On its device.
        spec: What is asked for.
        sequence_length: Tokens of the blocks.

    Raises:
        UsageError: for fp16 on a CPU, bf16 on a GPU without it, gradient checkpointing of a model
            that has none, half-precision weights, blocks longer than the model's context, a batch
            that the processes cannot share, compiled training without a compiler, or what cannot be
            trained in parts (see `sharded.check_divided`).
    """
    device = model.device.type
    parts = spec.accumulation_steps * distributed.num_processes()
    if spec.batch_size % parts:
        raise UsageError(
            f"`train.batch_size` = {spec.batch_size} is of all processes together, and cannot be "
            f"divided by {distributed.num_processes()} processes x `train.accumulation_steps` = "
            f"{spec.accumulation_steps}",
            f"take a multiple of {parts}, or start another number of processes",
        )
    longest = context_length(model.config) if family_of(model.config) in ANATOMIES else None
    if longest is not None and sequence_length > longest:
        raise UsageError(
            f"`train.sequence_length` = {sequence_length} is longer than the model's context of "
            f"{longest} tokens",
            f"take at most {longest}, or a model with a longer context",
        )
    if spec.precision == "fp16" and device == "cpu":
        raise UsageError(
            "`train.precision` = fp16 needs a GPU: its gradients are scaled there only",
            "use bf16 or fp32 on a CPU, or --set model.device=cuda",
        )
    if spec.precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError("`train.precision` = bf16: this GPU has no bfloat16", "use fp16 or fp32")
    if spec.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise UsageError(
            f"`train.gradient_checkpointing`: {type(model).__name__} does not support it",
            "leave it out; `train.accumulation_steps` saves memory too",
        )
    if spec.compile:
        check_compiler(str(model.device))
    if model.dtype is not torch.float32:
        raise UsageError(
            f"training needs float32 weights, got {model.dtype}",
            "leave `model.dtype` out; `train.precision` sets the precision of the computation",
        )
    check_divided(model, spec)


def training_arguments(spec: TrainSpec, folder: Path, device: torch.device) -> TrainingArguments:
    """Trainer's arguments.

    Args:
        spec: What is asked for.
        folder: Of the checkpoints.
        device: Where it is trained.
    """
    micro_batch = spec.batch_size // (spec.accumulation_steps * distributed.num_processes())
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=spec.num_steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=spec.accumulation_steps,
        learning_rate=spec.learning_rate,
        **_schedule(spec),
        warmup_steps=round(spec.warmup_fraction * spec.num_steps),
        weight_decay=spec.weight_decay,
        adam_beta1=spec.betas[0],
        adam_beta2=spec.betas[1],
        max_grad_norm=spec.max_grad_norm,
        bf16=spec.precision == "bf16",
        fp16=spec.precision == "fp16",
        torch_compile=spec.compile,
        seed=spec.seed,
        data_seed=spec.seed,
        logging_first_step=True,
        logging_steps=max(1, spec.num_steps // _LOGS_PER_RUN),
        # a filtered NaN would hide a diverged run
        logging_nan_inf_filter=False,
        save_total_limit=1,
        report_to="none",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type != "cpu",
        disable_tqdm=True,
        **_validation(spec, micro_batch),
    )


def _schedule(spec: TrainSpec) -> dict[str, Any]:
    if spec.schedule == "cosine":
        return {
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": spec.min_learning_rate_fraction},
        }
    if spec.schedule == "warmup_stable_decay":
        warmup = round(spec.warmup_fraction * spec.num_steps)
        decay = min(max(1, round(_DECAY_SHARE * spec.num_steps)), spec.num_steps - warmup)
        return {
            "lr_scheduler_type": "warmup_stable_decay",
            "lr_scheduler_kwargs": {
                "num_decay_steps": decay,
                "min_lr_ratio": spec.min_learning_rate_fraction,
            },
        }
    # without warm-up transformers' `constant` is the same as this one
    name = "constant_with_warmup" if spec.schedule == "constant" else spec.schedule
    return {"lr_scheduler_type": name}


def _validation(spec: TrainSpec, micro_batch: int) -> dict[str, Any]:
    often = max(1, spec.num_steps // _CHECKPOINTS_PER_RUN)
    if spec.validate_every is None:
        return {"save_steps": often}
    is_best = spec.keep == "best"
    return {
        "eval_strategy": "steps",
        "eval_steps": spec.validate_every,
        "per_device_eval_batch_size": micro_batch,
        # losses only: logits of a whole split do not fit into memory
        "prediction_loss_only": True,
        # the best weights can be kept only where they were saved
        "save_steps": spec.validate_every if is_best else often,
        "load_best_model_at_end": is_best,
        "metric_for_best_model": "eval_loss" if is_best else None,
        "greater_is_better": False if is_best else None,
        # how long early stopping has waited
        "restore_callback_states_from_checkpoint": spec.patience is not None,
    }
