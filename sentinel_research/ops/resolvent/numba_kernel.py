"""The resolvent on CPU: outputs, memory layout and threads around the compiled loops."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sentinel_research.ops.buffers import POOL
from sentinel_research.ops.resolvent import numba_loops as loops
from sentinel_research.ops.resolvent.outputs import (
    BACKWARD_FLOPS,
    FORWARD_FLOPS,
    Gradients,
    Outputs,
)
from sentinel_research.ops.threads import share

_MIN_CHANNELS_PER_THREAD = 2 * loops.TILE


def forward(
    potential: Float[Tensor, "batch seq channels"],
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    energy: Float[Tensor, " channels"],
    width: Float[Tensor, " channels"],
    state: Float[Tensor, "batch 4 channels"],
    with_green: bool,
) -> Outputs:
    """See `naive.forward`; without autograd. The three sequences may be slices of one tensor."""
    batch, length, channels = value.shape
    row = POOL.empty((batch, length, 2, channels), value.dtype)
    green = POOL.empty((batch, length if with_green else 0, 2, channels), value.dtype)
    last = torch.empty_like(state, memory_format=torch.contiguous_format)
    sequences = [_flat(one) for one in (potential, hop, value)]
    span = _span(batch, channels)
    share(
        loops.forward,
        batch * -(-channels // span),
        FORWARD_FLOPS * value.numel(),
        span,
        *(buffer for buffer, _ in sequences),
        np.array([strides for _, strides in sequences]),
        # a parameter, whose memory could not be given back once numpy has it (FSDP does so)
        energy.clone().numpy(),
        width.contiguous().numpy(),
        state.contiguous().numpy(),
        row.numpy(),
        green.numpy(),
        last.numpy(),
    )
    return Outputs(row, green, last)


def backward(
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    state: Float[Tensor, "batch 4 channels"],
    row: Float[Tensor, "batch seq 2 channels"],
    green: Float[Tensor, "batch seq 2 channels"],
    grad_row: Float[Tensor, "batch seq 2 channels"] | None,
    grad_green: Float[Tensor, "batch seq 2 channels"] | None,
    grad_last: Float[Tensor, "batch 4 channels"] | None,
) -> Gradients:
    """See `chunked.backward`; a gradient that is None is zero."""
    batch, length, channels = value.shape
    dh, dc, du = (POOL.empty((batch, length, channels), value.dtype) for _ in range(3))
    grad_state = torch.empty_like(state, memory_format=torch.contiguous_format)
    # [batch, energy and width, channels]; float64 because a sum runs over all positions
    shifts = torch.zeros((batch, 2, channels), dtype=torch.float64)
    none = torch.zeros((batch, 0, 2, channels), dtype=value.dtype)
    last = torch.zeros_like(state) if grad_last is None else grad_last
    sequences = [_flat(one) for one in (hop, value)]
    span = _span(batch, channels)
    share(
        loops.backward,
        batch * -(-channels // span),
        BACKWARD_FLOPS * value.numel(),
        span,
        *(buffer for buffer, _ in sequences),
        np.array([strides for _, strides in sequences]),
        state.contiguous().numpy(),
        row.numpy(),
        green.numpy(),
        (none if grad_row is None else grad_row).contiguous().numpy(),
        (none if grad_green is None else grad_green).contiguous().numpy(),
        last.contiguous().numpy(),
        dh.numpy(),
        dc.numpy(),
        du.numpy(),
        shifts.numpy(),
        grad_state.numpy(),
    )
    energy, width = (shifts[:, part].sum(0).to(value.dtype) for part in range(2))
    return Gradients(dh, dc, du, energy, width, grad_state)


def _flat(sequence: Tensor) -> tuple[np.ndarray, tuple[int, int]]:
    """The memory behind a `[batch, seq, channels]` tensor, and its first two strides."""
    if sequence.stride(2) != 1:
        sequence = sequence.contiguous()
    batch, length, channels = sequence.shape
    strides = (sequence.stride(0), sequence.stride(1))
    size = (batch - 1) * strides[0] + (length - 1) * strides[1] + channels
    return sequence.as_strided((size,), (1,)).numpy(), strides


def _span(batch: int, channels: int) -> int:
    """Channels that one thread takes, a multiple of the tile."""
    threads = torch.get_num_threads()
    wanted = -(-batch * channels // threads)
    rounded = -(-max(wanted, _MIN_CHANNELS_PER_THREAD) // loops.TILE) * loops.TILE
    return min(rounded, -(-channels // loops.TILE) * loops.TILE)
