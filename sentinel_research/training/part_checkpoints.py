"""Checkpoints of a training whose weights are divided among the processes.

Weights are kept whole, as those of any model, and every process reads its own rows of them. The
moments of the optimiser, twice as large, are kept in parts: `optimizer_RANK.safetensors` has those
of one process, and nothing is unpickled. As many processes go on with them as wrote them
(`checkpoints.open_folder`).
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor

from sentinel_research import distributed
from sentinel_research.training.sharded import own_part, own_rows, parts

_WEIGHTS = "model*.safetensors"
_RATES = "learning_rates"


def save_moments(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Keep this process' part of what an optimiser knows.

    Args:
        optimizer: With a state of tensors for each parameter.
        folder: Of the checkpoint.
    """
    found = {
        f"{index}.{name}": own_part(value).contiguous()
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state[parameter].items()
    }
    rates = json.dumps([group["lr"] for group in optimizer.param_groups])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(found, _path(folder), {_RATES: rates})


def load_moments(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Take up what `save_moments` kept, and the learning rates.

    Args:
        optimizer: Of the same parameters, in the same parts.
        folder: Of the checkpoint.
    """
    parameters = _parameters(optimizer)
    states: list[dict[str, Any]] = [{} for _ in parameters]
    for key, value in load_file(_path(folder)).items():
        index, _, name = key.partition(".")
        like = parameters[int(index)]
        has_parts = isinstance(like, DTensor) and value.ndim > 0
        states[int(index)][name] = _like(like, value) if has_parts else value
    for parameter, state in zip(parameters, states, strict=True):
        optimizer.state[parameter] = state
    with safe_open(_path(folder), framework="pt") as file:
        rates = json.loads(file.metadata()[_RATES])
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


@torch.no_grad()
def load_rows(model: nn.Module, checkpoint: Path) -> None:
    """Read this process' part of the weights of a checkpoint.

    Args:
        model: In parts.
        checkpoint: Of the same model, checked to have its names and shapes.
    """
    named = dict(parts(model))
    buffers = dict(model.named_buffers())
    for path in sorted(checkpoint.glob(_WEIGHTS)):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name in buffers:
                    buffers[name].copy_(file.get_tensor(name))
                    continue
                rows = file.get_slice(name)[own_rows(named[name])]
                own_part(named[name]).copy_(rows)


def _path(folder: Path) -> Path:
    return folder / f"optimizer_{distributed.process_index()}.safetensors"


def _parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [one for group in optimizer.param_groups for one in group["params"]]


def _like(parameter: DTensor, part: torch.Tensor) -> DTensor:
    """A part of something of a parameter's shape."""
    found: DTensor = DTensor.from_local(
        part.to(parameter.to_local().device),
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
    return found
