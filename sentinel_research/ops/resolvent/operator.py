"""The resolvent as an operator of torch: autograd, fake tensors and FLOP formulas.

As a registered operator it is one node for `torch.compile`, and `torch.utils.flop_counter` sees it.
"""

import importlib
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sentinel_research.ops.resolvent import chunked, naive
from sentinel_research.ops.resolvent.outputs import BACKWARD_FLOPS, FORWARD_FLOPS

Three = tuple[Tensor, Tensor, Tensor]
Six = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def run(
    potential: Float[Tensor, "batch seq channels"],
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    energy: Float[Tensor, " channels"],
    width: Float[Tensor, " channels"],
    state: Float[Tensor, "batch 4 channels"],
    with_green: bool,
    implementation: str,
) -> Three:
    """The row, the Green's function (of length 0 unless asked for) and the last state."""
    inputs = (potential, hop, value, energy, width, state)
    if implementation == "naive":
        planes = naive.forward(*inputs)
        green = planes[:, :, 2:] if with_green else planes[:, :0, 2:]
        return planes[:, :, :2], green, planes[:, -1]
    keeps_green = with_green or (
        torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
    )
    row, green, last = _forward(*inputs, keeps_green, implementation)
    return row, green if with_green else green[:, :0], last


def _kernels(implementation: str) -> ModuleType:
    # compilers are slow to import, and Triton may not be there
    return importlib.import_module(f"sentinel_research.ops.resolvent.{implementation}_kernel")


@torch.library.custom_op("sentinel_research::resolvent", mutates_args=())
def _forward(
    potential: Tensor,
    hop: Tensor,
    value: Tensor,
    energy: Tensor,
    width: Tensor,
    state: Tensor,
    with_green: bool,
    implementation: str,
) -> Three:
    if implementation == "chunked":
        planes = chunked.forward(potential, hop, value, energy, width, state)
        length = planes.shape[1] if with_green else 0
        # outputs of an operator share no memory
        return planes[:, :, :2].clone(), planes[:, :length, 2:].clone(), planes[:, -1].clone()
    found: Three = _kernels(implementation).forward(
        potential, hop, value, energy, width, state, with_green
    )
    return tuple(found)  # type: ignore[return-value]


@_forward.register_fake
def _(
    potential: Tensor,  # noqa: ARG001
    hop: Tensor,  # noqa: ARG001
    value: Tensor,
    energy: Tensor,  # noqa: ARG001
    width: Tensor,  # noqa: ARG001
    state: Tensor,
    with_green: bool,
    implementation: str,  # noqa: ARG001
) -> Three:
    batch, length, channels = value.shape
    row = value.new_empty((batch, length, 2, channels))
    green = value.new_empty((batch, length if with_green else 0, 2, channels))
    return row, green, state.new_empty((batch, 4, channels))


@torch.library.custom_op("sentinel_research::resolvent_backward", mutates_args=())
def _backward(
    hop: Tensor,
    value: Tensor,
    state: Tensor,
    row: Tensor,
    green: Tensor,
    grad_row: Tensor | None,
    grad_green: Tensor | None,
    grad_last: Tensor | None,
    implementation: str,
) -> Six:
    if implementation == "chunked":
        planes = torch.cat([row, green], 2)
        grad = torch.zeros_like(planes)
        if grad_row is not None:
            grad[:, :, :2] += grad_row
        if grad_green is not None:
            grad[:, :, 2:] += grad_green
        if grad_last is not None:
            grad[:, -1] += grad_last
        found = chunked.backward(hop, value, state, planes, grad)
        return tuple(one.contiguous() for one in found)  # type: ignore[return-value]
    kernels = _kernels(implementation)
    return tuple(kernels.backward(hop, value, state, row, green, grad_row, grad_green, grad_last))


@_backward.register_fake
def _(
    hop: Tensor,
    value: Tensor,
    state: Tensor,
    row: Tensor,  # noqa: ARG001
    green: Tensor,  # noqa: ARG001
    grad_row: Tensor | None,  # noqa: ARG001
    grad_green: Tensor | None,  # noqa: ARG001
    grad_last: Tensor | None,  # noqa: ARG001
    implementation: str,  # noqa: ARG001
) -> Six:
    sequences = [value.new_empty(value.shape) for _ in range(3)]
    shifts = [value.new_empty(hop.shape[-1:]) for _ in range(2)]
    return (*sequences, *shifts, torch.empty_like(state))  # type: ignore[return-value]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Three) -> None:
    _, hop, value, _, _, state, _, implementation = inputs
    ctx.implementation = implementation
    # a missing gradient of g need not be a tensor of zeros
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hop, value, state, output[0], output[1])


def _differentiate(
    ctx: Any, grad_row: Tensor | None, grad_green: Tensor | None, grad_last: Tensor | None
) -> tuple[Tensor | None, ...]:
    found = _backward(*ctx.saved_tensors, grad_row, grad_green, grad_last, ctx.implementation)
    return (*found, None, None)


_forward.register_autograd(_differentiate, setup_context=_setup)


@register_flop_formula(torch.ops.sentinel_research.resolvent)
def _forward_flops(potential_shape: torch.Size, *_: Any, **__: Any) -> int:
    return FORWARD_FLOPS * potential_shape.numel()


@register_flop_formula(torch.ops.sentinel_research.resolvent_backward)
def _backward_flops(hop_shape: torch.Size, *_: Any, **__: Any) -> int:
    return BACKWARD_FLOPS * hop_shape.numel()
