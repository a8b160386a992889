"""Hold a model's projections in 16, 8 or 4 bits: smaller, and faster where there is a kernel.

16 bits are bfloat16 for the whole model on a device that computes it, and float16 for the
projections alone, multiplied in float32, on a processor that does not.

Which weights those are is said in `weights`: the projections of the layers. Embeddings, the output
head (tied to them or not), norms, biases, gates, convolutions, decay rates, and keys, values and
recurrent states keep their type. Rounding is that of `grid`, so that a model stored in 8 or 4 bits
with float activations computes what its fake-quantised twin does.
"""

from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sentinel_research.errors import UsageError
from sentinel_research.models.precision import check_bfloat16, computes_bfloat16
from sentinel_research.models.quantizer import StoredConfig, attach_quantizer
from sentinel_research.models.stored_linear import StoredLinear, held_bytes, num_parameters
from sentinel_research.ops.low_bits import HALF_LIMIT, has_int8_products, pack_nibbles
from sentinel_research.quantisation.grid import grid_of
from sentinel_research.quantisation.weights import left_out, projection_weights, quantised_names
from sentinel_research.specs import StoreSpec
from sentinel_research.specs.base import Spec


class StoreReport(Spec):
    """What storing a model small did."""

    bits: Literal[4, 8, 16]
    """Of a weight of a projection."""
    group_size: int | None
    """Inputs of an output that share a step; null: all, or none has one (16 bits)."""
    activations: Literal["float", "int8"]
    """`int8`: those of projections are rounded too, each token on a grid of its own."""
    kernel: str
    """What computes the products."""
    num_weights: int
    """Weights stored so."""
    num_parameters: int
    """Of the whole model, these weights among them."""
    relative_error: float = Field(ge=0)
    """Root mean square change of these weights over their root mean square."""
    projection_bytes: int
    """These weights with their steps, as they are held."""
    weight_bytes_before: int
    """Of the whole model, before."""
    weight_bytes: int
    """Of the whole model: what it holds now."""
    left_out: tuple[str, ...]
    """Parameters that keep their type; `*` stands for the number of a layer."""


class _Stored(NamedTuple):
    numbers: Tensor
    """What is held, in the order of files."""
    steps: Tensor | None
    """`[O, G]`."""


@torch.no_grad()
def store_small(model: PreTrainedModel, spec: StoreSpec | Literal[4, 8, 16]) -> StoreReport:
    """Hold the projections of a model in fewer bits, in place.

    Args:
        model: Dense, pruned, masked or gated, on the device that it will run on. Its parameters
            take no part in gradients any more.
        spec: Bits and how activations are treated; a number alone means `StoreSpec(bits=...)`,
            which is what computes fastest on the model's device.

    Returns:
        What it did.

    Raises:
        UsageError: see `quantised_names`; a weight is not finite or beyond float16; or there are no
            int8 products on this device.

    Example:
        >>> from sentinel_research.models.tiny import tiny_model
        >>> model = tiny_model("gpt2")
        >>> report = store_small(model, 8)
        >>> report.num_weights, model.transformer.h[0].mlp.c_fc.in_features
        (17460, 30)
    """
    spec = StoreSpec(bits=spec) if isinstance(spec, int) else spec
    check_bfloat16(model.device, f"bits={spec.bits}")
    activations = activations_of(spec, model.device)
    names = quantised_names(model)
    if spec.bits == 16 and computes_bfloat16(model.device):
        return _in_bfloat16(model)
    others, before = left_out(model, set(names)), held_bytes(model)
    squares = torch.zeros(2, dtype=torch.float64)
    num_weights, modules = 0, []
    config = StoredConfig(bits=spec.bits, group_size=spec.group_size, activations=activations)
    # all are looked at before the first is changed
    for name in names:
        _check(name, model.get_parameter(name), spec)
    for name in names:
        path = name.removesuffix(".weight")
        old: Any = model.get_submodule(path)
        weight = _by_output(old)
        module = replaced(model, path, config)
        stored = _rounded(weight, spec)
        module.stored, module.steps = stored.numbers, stored.steps
        module.bias = None if old.bias is None else nn.Parameter(old.bias, requires_grad=False)
        _add_change(squares, module.weight, weight)
        num_weights += weight.numel()
        module.pack()
        modules.append(module)
    if model.device.type == "cuda":
        _cast_parameters(model)
    model.requires_grad_(False)
    attach_quantizer(model, config)
    return StoreReport(
        bits=spec.bits,
        group_size=spec.group_size,
        activations=activations,
        kernel=modules[0].kernel,
        num_weights=num_weights,
        num_parameters=num_parameters(model),
        relative_error=_relative(squares),
        projection_bytes=sum(one.weight_bytes for one in modules),
        weight_bytes_before=before,
        weight_bytes=held_bytes(model),
        left_out=others,
    )


def _in_bfloat16(model: PreTrainedModel) -> StoreReport:
    """All parameters in the type that the device computes in by itself."""
    before = held_bytes(model)
    squares = torch.zeros(2, dtype=torch.float64)
    for parameter in model.parameters():
        _add_change(squares, parameter.to(torch.bfloat16), parameter)
    _cast_parameters(model)
    held = held_bytes(model)
    model.requires_grad_(False)
    return StoreReport(
        bits=16,
        group_size=None,
        activations="float",
        kernel=f"bfloat16 throughout ({model.device.type} has instructions for it)",
        num_weights=num_parameters(model),
        num_parameters=num_parameters(model),
        relative_error=_relative(squares),
        projection_bytes=sum(2 * model.get_parameter(n).numel() for n in quantised_names(model)),
        weight_bytes_before=before,
        weight_bytes=held,
        left_out=(),
    )


def _cast_parameters(model: PreTrainedModel) -> None:
    # buffers are frequencies and slopes, which transformers keeps in float32 as well
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16


def _add_change(squares: Tensor, found: Tensor, weight: Tensor) -> None:
    for place, tensor in enumerate((found.float() - weight.float(), weight.float())):
        squares[place] += tensor.square().sum(dtype=torch.float64).cpu()


def _relative(squares: Tensor) -> float:
    change, size = squares.sqrt().tolist()
    return change / size if size else 0.0


def activations_of(spec: StoreSpec, device: torch.device) -> Literal["float", "int8"]:
    """How activations are treated: as asked for, or as computes fastest on a device.

    Raises:
        UsageError: if int8 products are asked for, and this torch has none for the device.
    """
    has_products = device.type == "cpu" and has_int8_products()
    if spec.activations == "int8" and not has_products:
        raise UsageError(
            f"activations=int8 was asked for, and torch has no such products for {device}",
            "take activations=float: the weights are stored in 8 bits all the same",
        )
    if spec.activations == "auto":
        return "int8" if spec.bits == 8 and has_products else "float"
    return spec.activations


def replaced(model: PreTrainedModel, path: str, config: Any) -> StoredLinear:
    """Put an empty module of stored weights in a projection's place, with its hooks."""
    old: Any = model.get_submodule(path)
    weight = old.weight
    is_transposed = isinstance(old, Conv1D)
    num_outputs, num_inputs = weight.T.shape if is_transposed else weight.shape
    new = StoredLinear(
        num_inputs,
        num_outputs,
        bits=config.bits,
        group_size=config.group_size,
        activations=config.activations,
        has_bias=old.bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    ).train(old.training)
    # masks and gates are hooks, and their handles know these very dictionaries
    for hooks in _HOOKS:
        setattr(new, hooks, getattr(old, hooks))
    model.set_submodule(path, new)
    return new


_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def prepare(model: PreTrainedModel, config: Any) -> None:
    """Give a model that was just built the modules that a stored checkpoint fills."""
    for name in projection_weights(model):
        replaced(model, name.removesuffix(".weight"), config)


def _by_output(module: Any) -> Tensor:
    """A projection's weights, one row for each output."""
    weight: Tensor = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight


def _rounded(weight: Tensor, spec: StoreSpec) -> _Stored:
    grid = spec.grid
    if grid is None:
        return _Stored(weight.to(torch.float16).contiguous(), None)
    found = grid_of(weight, grid)
    width = weight.shape[1]
    size = min(grid.group_size or width, width)
    steps = found.steps.repeat_interleave(size, dim=1)[:, :width]
    # as torch's operator rounds: times the inverse, half-way to the even number
    numbers = (weight.float() * (1 / steps)).round_().clamp_(found.lowest, found.highest)
    whole = numbers.to(torch.int8).contiguous()
    steps = found.steps.contiguous()
    return _Stored(whole if spec.bits == 8 else pack_nibbles(whole, size), steps)


def _check(name: str, weight: Tensor, spec: StoreSpec) -> None:
    if not bool(torch.isfinite(weight).all()):
        raise UsageError(
            f"{name} holds values that are not finite, and they have no grid",
            "look at the training that made them: its losses are in the record",
        )
    largest = float(weight.abs().max())
    if spec.bits == 16 and largest > HALF_LIMIT:
        raise UsageError(
            f"{name} holds {largest:.6g}, and float16 ends at {HALF_LIMIT:.6g}",
            "take dtype=bfloat16, or bits=8, whose grids have no such end",
        )
