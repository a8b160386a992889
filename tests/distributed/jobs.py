"""Trainings that one process and two must do alike; this file, started in two of them."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from sentinel_research import distributed
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import DataError
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.recoveries import recover
from sentinel_research.specs import AgencySpec, PruneSpec, RecoverSpec, StatePolicy, TrainSpec
from sentinel_research.training import train

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


JOBS = {
    "trained": trained,
    "recovered": recovered,
    "dropped": dropped,
    "disagreeing": disagreeing,
}


def write(model: PreTrainedModel, report: dict[str, Any], folder: Path, name: str) -> None:
    """What a test compares, of this process."""
    weights = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / f"{name}-{distributed.process_index()}.safetensors")
    (folder / f"{name}-{distributed.process_index()}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    for job in sys.argv[2:] or JOBS:
        write(*JOBS[job](target / f"{job}-checkpoints"), target, job)
