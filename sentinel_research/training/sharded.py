"""Training of a model of which every process holds a part (FSDP2 [1]).

Each decoder layer is divided along the first axis of its parameters, and so is what is outside of
the layers; a process has all of a layer only while it computes it. The model that is given stays
what it is: a twin of it, of the same modules, is divided and trained, while the given one holds no
weights; at the end it has all of them again, in every process.

torch's `fully_shard` is called here, for Accelerate divides nothing on processors and keeps what it
divided by pickle. Accelerate's configuration file still says that weights are divided, and starts
the processes.

Reference: [1] Zhao et al. 2023, PyTorch FSDP, https://arxiv.org/abs/2304.11277; per parameter:
https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
"""

import contextlib
import copy
import os
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from sentinel_research import distributed
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import spec_of
from sentinel_research.specs import TrainSpec

_VARIABLE = "ACCELERATE_USE_FSDP"
_REFUSED = {
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (
        "fsdp_cpu_ram_efficient_loading",
        "all processes load, prune and measure the model, and each needs its weights",
    ),
    "FSDP_OFFLOAD_PARAMS": (
        "fsdp_offload_params",
        "weights that are trained stay on the device that trains them",
    ),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "fsdp_activation_checkpointing",
        "it is a setting of the training: --set train.gradient_checkpointing=true",
    ),
}


def check_divided(model: PreTrainedModel, spec: TrainSpec) -> None:
    """Refuse what cannot be trained in parts; nothing is checked where weights are not divided.

    Args:
        model: What is to be trained.
        spec: How.

    Raises:
        UsageError: for a setting of the launcher or of the training that goes with whole weights
            only, a model without known layers, or one whose gates look at whole weights.
    """
    if not distributed.divides_weights():
        return
    if os.environ.get("FSDP_VERSION") != "2":
        raise UsageError(
            f"weights are divided by FSDP version 2, and the launcher says "
            f"{os.environ.get('FSDP_VERSION', 'none')}",
            "write `fsdp_version: 2` into `fsdp_config` of its file; `sentinel ls launch` has some",
        )
    for name, (key, why) in _REFUSED.items():
        if distributed.launcher_says(name):
            raise UsageError(f"`{key}: true` of the launcher: {why}", f"write `{key}: false`")
    without = "start the processes without FSDP, or leave it out"
    if spec.precision == "fp16":
        raise UsageError(
            "`train.precision` = fp16 scales whole gradients, and FSDP divides them",
            "use bf16 or fp32",
        )
    if spec.compile:
        raise UsageError("`train.compile` compiles whole weights, and FSDP divides them", without)
    agency = spec_of(model.config)
    if agency is not None and (agency.policy is not None or agency.l0_penalty):
        raise UsageError(
            "`model.agency` with `policy` or `l0_penalty` reads whole weights between two steps, "
            "and FSDP divides them",
            without,
        )
    if not _layers(model):
        raise UsageError(f"{type(model).__name__} names no layers that could be divided", without)
    if scalars := [name for name, value in model.named_parameters() if not value.ndim]:
        raise UsageError(f"{scalars[0]} is a single number, which FSDP cannot divide", without)


def device_of_training(model: PreTrainedModel) -> torch.device:
    """Where a model is trained: where it is; in parts on GPUs, if there are any.

    A model in the processor's memory may be larger than a GPU's.
    """
    is_elsewhere = distributed.divides_weights() and model.device.type == "cpu"
    if not is_elsewhere or distributed.launcher_says("ACCELERATE_USE_CPU"):
        return model.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def divided_here() -> Iterator[None]:
    """Accelerate and Trainer leave the dividing of weights to this module inside the block."""
    said = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "false"
    try:
        with warnings.catch_warnings():
            # hidden states among the outputs are views; neither losses nor hooks write into them
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
            yield
    finally:
        if said is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = said


def divide(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """A twin of the model of which every process holds a part; all processes call this together.

    Args:
        model: The same in all processes. It holds no weights from here to `give_back`.
        device: Of the parts.

    Returns:
        The twin; its parameters are DTensors.
    """
    # modules and hooks of its own, and the very parameters: nothing is in memory twice
    twin: PreTrainedModel = copy.deepcopy(model, {id(one): one for one in model.parameters()})
    _divide(twin, init_device_mesh(device.type, (distributed.num_processes(),)))
    return twin


def frozen_twin(model: PreTrainedModel, like: nn.Module) -> PreTrainedModel:
    """A twin in parts that is only read; the model keeps its weights, and is not changed.

    Args:
        model: The same in all processes.
        like: A model in parts, on whose processes the twin's are.
    """
    mesh = next(one.device_mesh for one in like.parameters() if isinstance(one, DTensor))
    aliases = {
        id(one): nn.Parameter(one.detach(), requires_grad=False) for one in model.parameters()
    }
    twin: PreTrainedModel = copy.deepcopy(model, aliases)
    _divide(twin, mesh)
    return twin


def give_back(twin: PreTrainedModel, model: PreTrainedModel) -> None:
    """Give the model the weights of its twin, whole in every process, where it had its own."""
    found = dict(parts(twin))
    for name, parameter in model.named_parameters():
        parameter.data = found[name].full_tensor().detach().to(parameter.device)
    buffers = dict(twin.named_buffers())
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


def whole(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model in parts, in the main process' memory; empty in the others."""
    seen: dict[int, Tensor] = {}
    named = dict(parts(model))
    for one in dict.fromkeys(named.values()):
        # all take part in putting it together
        value = one.full_tensor().detach()
        if distributed.is_main():
            seen[id(one)] = value.cpu()
    if not distributed.is_main():
        return {}
    return {
        name: seen[id(named[name])] if name in named else value
        for name, value in model.state_dict().items()
    }


def parts(model: nn.Module) -> Iterator[tuple[str, DTensor]]:
    """Every parameter of a model in parts by name, tied ones by each of theirs."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # what was computed last, such as the output head, is still whole
            module.reshard()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        assert isinstance(parameter, DTensor)
        yield name, parameter


def own_part(value: Tensor) -> Tensor:
    """This process' part of a parameter in parts, which it shares memory with; a whole one is its
    own part."""
    return value.to_local() if isinstance(value, DTensor) else value


def own_rows(parameter: DTensor) -> slice:
    """Which rows of the whole this process has, as `torch.chunk` deals them out."""
    mesh: DeviceMesh = parameter.device_mesh
    size = parameter.shape[0]
    each = -(-size // mesh.size())
    start = min(mesh.get_local_rank() * each, size)
    found = slice(start, min(start + each, size))
    assert found.stop - found.start == len(parameter.to_local())
    return found


def factor_of_part(factor: Tensor, parameter: Tensor) -> Tensor:
    """Of a factor that broadcasts to a parameter what broadcasts to this process' part."""
    if not isinstance(parameter, DTensor) or factor.ndim < parameter.ndim or len(factor) == 1:
        return factor
    return factor[own_rows(parameter)]


def _layers(model: nn.Module) -> list[nn.Module]:
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _divide(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Layer by layer, so that no device ever has all of the model."""
    for layer in _layers(model):
        _divide_one(layer, mesh)
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {id(end.weight) for end in ends if end is not None}
    # tied ones stay together, with all that is in no layer
    if len(weights) == len(ends):
        for end in ends:
            _divide_one(end, mesh)
    _divide_one(model, mesh)


def _divide_one(module: nn.Module, mesh: DeviceMesh) -> None:
    found = [one for one in module.parameters() if not isinstance(one, DTensor)]
    places = [one.device for one in found]
    fully_shard(module, mesh=mesh)
    for one, place in zip(found, places, strict=True):
        one.data = torch.empty(0, dtype=one.dtype, device=place)
