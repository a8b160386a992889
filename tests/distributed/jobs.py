"""Trainings that one process and two must do alike; this file, started in two of them."""

import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, TrainerCallback

from sentinel_research import distributed
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import DataError
from sentinel_research.models import build
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.recoveries import recover
from sentinel_research.specs import AgencySpec, PruneSpec, RecoverSpec, StatePolicy, TrainSpec
from sentinel_research.training import Adjustments, train

LENGTH = 16
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def _blocks(num: int, seed: int) -> np.ndarray:
    starts = np.random.default_rng(seed).integers(0, 200, size=(num, 1))
    return (starts + np.arange(LENGTH)) % 256


# one more than whole batches, two passes; validation that no number of processes divides
BLOCKS, VALIDATION = _blocks(21, 0), _blocks(5, 1)
SPEC: dict[str, Any] = {
    "corpus": "none",
    "num_steps": 8,
    "sequence_length": LENGTH,
    "batch_size": 4,
    "learning_rate": 0.01,
    "max_grad_norm": 0.05,
    "validate_every": 2,
}


def trained(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Gates whose states move, accumulation, clipping, and the best weights."""
    agency = AgencySpec(gate="static", policy=StatePolicy(every=2, num_sequences=2))
    model = add_agency(tiny_model("gpt2", **NO_DROPOUT), agency)
    spec = TrainSpec(**SPEC, accumulation_steps=2, keep="best", patience=3)
    return train(model, spec, BLOCKS, folder, validation=VALIDATION)


def recovered(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A masked model whose heads alone are trained."""
    asked = PruneSpec(scorer="magnitude_l2", fraction=0.4, form="mask")
    pruned = prune(tiny_model("gpt2", seed=2, **NO_DROPOUT), asked)
    spec = RecoverSpec(methods={"heads": {}}, train=TrainSpec(**SPEC, weight_decay=0.2))
    data = TrainingSet(BLOCKS, VALIDATION, {"blocks_sha256": "test"})
    found = recover(
        pruned.model,
        spec,
        byte_tokenizer(),
        plan=pruned.report.plan,
        prune=asked,
        data=data,
        folder=folder,
    )
    return found.model, found.report["phases"][0]


def dropped(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """With dropout, whose noise is every process' own; nobody expects one process' weights."""
    model = tiny_model("gpt2", resid_pdrop=0.3)
    draws: list[float] = []
    model.transformer.h[0].register_forward_hook(
        lambda module, _args, _out: draws.append(float(torch.rand(()))) if module.training else None
    )
    spec = TrainSpec(**{**SPEC, "num_steps": 2, "validate_every": None})
    _, report = train(model, spec, BLOCKS, folder)
    return model, {**report, "draws": distributed.gather(draws[-1])}


def disagreeing(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """One process has less text than a batch."""
    few = BLOCKS[:2] if distributed.process_index() == 1 else BLOCKS
    model = tiny_model("gpt2")
    spec = TrainSpec(**{**SPEC, "validate_every": None})
    try:
        train(model, spec, few, folder)
    except DataError as error:
        return model, {"errors": distributed.gather(str(error))}
    return model, {}


def gated(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Gates, accumulation, clipping, recomputed activations, and the best weights."""
    model = add_agency(tiny_model("gpt2", **NO_DROPOUT), AgencySpec(gate="static"))
    options = {"accumulation_steps": 2, "keep": "best", "gradient_checkpointing": True}
    return train(model, TrainSpec(**SPEC, **options), BLOCKS, folder, validation=VALIDATION)


def resolvent(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model without attention in two of its layers; embeddings are not tied."""
    sizes = {"num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 37, "resolvent_size": 19, "tie_word_embeddings": False}
    mixers = {"mixers": ["resolvent", "attention", "resolvent"]}
    model = build("sentinel", {**sizes, **mixers}, byte_tokenizer(), seed=0)
    # where gradients are next to nothing, Adam makes steps of their rounding
    spec = TrainSpec(**{**SPEC, "learning_rate": 0.001})
    return train(model, spec, BLOCKS, folder, validation=VALIDATION)


def mamba(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A state-space model."""
    return train(tiny_model("mamba"), TrainSpec(**SPEC), BLOCKS, folder, validation=VALIDATION)


def distilled(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Layers of different widths learn from the dense model; heads at rates of their own."""
    dense = tiny_model("gpt2", seed=2, **NO_DROPOUT)
    asked = PruneSpec(scorer="magnitude_l2", fraction=0.4, scope="global", min_per_layer=0)
    methods = {"distill": {"hidden_weight": 0.5}, "per_head_lr": {"inactive_factor": 0.25}}
    return _recovered(dense, asked, methods, folder, weight_decay=0.2)


def sparse(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Single weights stay zero, and out of the norm by which gradients are clipped."""
    asked = PruneSpec(scorer="magnitude_l2", fraction=0.4, granularity="weight", form="mask")
    dense = tiny_model("llama", seed=2)
    return _recovered(dense, asked, {"full": {}}, folder, weight_decay=0.2)


def adapted(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Single weights stay zero under low-rank additions, with few trained parameters."""
    dense = tiny_model("llama", seed=2)
    asked = PruneSpec(scorer="magnitude_l2", fraction=0.4, granularity="weight", form="mask")
    return _recovered(dense, asked, {"lora": {"r": 3}}, folder)


def _recovered(
    dense: PreTrainedModel,
    asked: PruneSpec,
    methods: dict[str, dict[str, Any]],
    folder: Path,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    pruned = prune(dense, asked)
    found = recover(
        pruned.model,
        RecoverSpec(methods=methods, train=TrainSpec(**SPEC, **options)),
        byte_tokenizer(),
        plan=pruned.report.plan,
        prune=asked,
        teacher=dense,
        data=TrainingSet(BLOCKS, VALIDATION, {"blocks_sha256": "test"}),
        folder=folder,
    )
    return found.model, found.report["phases"][0]


class _Stop(TrainerCallback):
    """Ends the process' training after a step, as if it had been killed."""

    def on_step_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step == 6:
            raise KeyboardInterrupt


def resumed(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """What `gated` does, killed on the way."""
    model = add_agency(tiny_model("gpt2", **NO_DROPOUT), AgencySpec(gate="static"))
    options = {"accumulation_steps": 2, "keep": "best", "gradient_checkpointing": True}
    spec = TrainSpec(**SPEC, **options)
    with contextlib.suppress(KeyboardInterrupt):
        stop = Adjustments(callbacks=(_Stop(),))
        train(model, spec, BLOCKS, folder, validation=VALIDATION, adjustments=stop)
    return gated(folder)


JOBS = {
    "trained": trained,
    "recovered": recovered,
    "dropped": dropped,
    "disagreeing": disagreeing,
}
DIVIDED = {
    "gated": gated,
    "recovered": recovered,
    "resolvent": resolvent,
    "mamba": mamba,
    "distilled": distilled,
    "sparse": sparse,
    "adapted": adapted,
    "resumed": resumed,
}
"""Those of processes that each hold a part of the weights."""


def write(model: PreTrainedModel, report: dict[str, Any], folder: Path, name: str) -> None:
    """What a test compares, of this process."""
    weights = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / f"{name}-{distributed.process_index()}.safetensors")
    (folder / f"{name}-{distributed.process_index()}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    chosen = DIVIDED if distributed.divides_weights() else JOBS
    for job in sys.argv[2:] or chosen:
        write(*chosen[job](target / f"{job}-checkpoints"), target, job)
