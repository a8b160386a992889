"""The selective scan on CPU as a differentiable function of torch, with its count of operations.

Both directions are operators of torch (`torch.ops.sentinel.*`), so that profilers name them and
`torch.utils.flop_counter` counts them. One operation is one multiplication, addition or call of an
elementary function; the recomputation of states in the adjoint counts, as it is carried out.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sentinel_research.ops.selective_scan import numba_kernel as kernel
from sentinel_research.ops.selective_scan.quantities import ScanInputs, Scanned
from sentinel_research.ops.threads import share


class _PerToken(NamedTuple):
    """Operations of one token and channel."""

    per_state: int
    """For each of `d_state`."""
    fixed: int
    """Once."""


_FORWARD = _PerToken(per_state=7, fixed=8)
_BACKWARD = _PerToken(per_state=21, fixed=28)

_library = torch.library.Library("sentinel", "FRAGMENT")
_SHARED = (
    "Tensor x, Tensor dt, Tensor rate, Tensor write, Tensor read, Tensor skip, Tensor gate, "
    "Tensor dt_bias"
)
_library.define(
    f"selective_scan({_SHARED}, Tensor state, bool keeps_states) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    f"selective_scan_backward({_SHARED}, Tensor kept, Tensor gy, Tensor gstate) -> Tensor[]"
)


def scan(inputs: ScanInputs) -> Scanned:
    """The scan by the compiled kernel.

    Args:
        inputs: On the CPU; types are cast as `ScanInputs.cast` says.
    """
    given = inputs.cast()
    # parameters, whose memory could not be given back once numpy has it (FSDP does so)
    given = given._replace(skip=given.skip.clone(), dt_bias=given.dt_bias.clone())
    tensors = [one.contiguous() for one in (*given[:-1], given.initial_state())]
    y, state = _Scan.apply(*tensors)
    return Scanned(y.to(inputs.x.dtype), state)


class _Scan(torch.autograd.Function):
    """Keeps the inputs and one state in `kernel.EVERY`, and recomputes the others."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        keeps_states = any(ctx.needs_input_grad)
        y, state, kept = torch.ops.sentinel.selective_scan(*tensors, keeps_states)
        if keeps_states:
            ctx.save_for_backward(*tensors[:-1], kept)
        return y, state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        gy, gstate = (one.contiguous() for one in gradients)
        return tuple(torch.ops.sentinel.selective_scan_backward(*ctx.saved_tensors, gy, gstate))


def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, keeps_states = arguments
    given = ScanInputs(*tensors)
    (batch, seq, channels), d_state = given.x.shape, given.rate.shape[-1]
    num_jobs = batch * _num_blocks(channels)
    num_kept = -(-seq // kernel.EVERY) if keeps_states else 0
    y, final = torch.empty_like(given.x), torch.empty_like(given.initial_state())
    kept = given.x.new_empty(num_jobs, num_kept, d_state, kernel.BLOCK)
    operations = _flops(_FORWARD, given.x.shape, given.rate.shape)
    arrays = _arrays(given), *map(_array, (y, final, kept))
    share(kernel.forward, num_jobs, operations, *arrays)
    return y, final, kept


def _backward(*tensors: Tensor) -> list[Tensor]:
    *inputs, kept, gy, gfinal = tensors
    given = ScanInputs(*inputs)
    (batch, seq, channels), d_state = given.x.shape, given.rate.shape[-1]
    num_blocks = _num_blocks(channels)
    empty = given.x.new_empty
    found = ScanInputs(
        x=torch.empty_like(given.x),
        dt=torch.empty_like(given.dt),
        rate=empty(batch, channels, d_state),
        write=empty(num_blocks, batch, seq, d_state),
        read=empty(num_blocks, batch, seq, d_state),
        skip=empty(batch, channels),
        gate=torch.empty_like(given.gate),
        dt_bias=empty(batch, channels),
        state=torch.empty_like(gfinal),
    )
    # the kernel knows one type of inputs, with a state; the adjoint does not read it
    arrays = _arrays(given._replace(state=gfinal))
    gradients = [*map(_array, (kept, gy, gfinal)), _arrays(found)]
    operations = _flops(_BACKWARD, given.x.shape, given.rate.shape)
    share(kernel.backward, batch * num_blocks, operations, arrays, *gradients)
    # by sequence or by block until here: always added up in one order
    for name in ("rate", "write", "read", "skip", "dt_bias"):
        found = found._replace(**{name: getattr(found, name).sum(0)})
    return [one for one in found if one is not None]


_library.impl("selective_scan", _forward, "CPU")
_library.impl("selective_scan_backward", _backward, "CPU")


def _num_blocks(channels: int) -> int:
    return -(-channels // kernel.BLOCK)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _arrays(tensors: ScanInputs) -> ScanInputs:
    """The same as numpy arrays, as the kernels take them."""
    return ScanInputs._make(map(_array, (one for one in tensors if one is not None)))


@register_flop_formula(torch.ops.sentinel.selective_scan)
def forward_flops(x_shape: Any, _dt: Any, rate_shape: Any, *_: Any, **__: Any) -> int:
    """Operations of one scan."""
    return _flops(_FORWARD, x_shape, rate_shape)


@register_flop_formula(torch.ops.sentinel.selective_scan_backward)
def backward_flops(x_shape: Any, _dt: Any, rate_shape: Any, *_: Any, **__: Any) -> int:
    """Operations of its adjoint."""
    return _flops(_BACKWARD, x_shape, rate_shape)


def _flops(cost: _PerToken, x_shape: Any, rate_shape: Any) -> int:
    batch, seq, channels = x_shape
    each = cost.per_state * rate_shape[-1] + cost.fixed
    return int(batch * seq * channels * each)
