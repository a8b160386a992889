"""GPU kernels: a program owns a block of channels of one sequence and walks along the positions.

The recursion's values stay in registers; every input is read once and every output written once.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from sentinel_research.ops.resolvent.outputs import Gradients, Outputs

# one warp: many small programs hide each other's latency better than a few wide ones
_BLOCK = 32


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
    row = value.new_empty((batch, length, 2, channels))
    green = value.new_empty((batch, length if with_green else 0, 2, channels))
    last = torch.empty_like(state, memory_format=torch.contiguous_format)
    sequences = [_inner_contiguous(one) for one in (potential, hop, value)]
    _forward_kernel[_grid(batch, channels)](
        *sequences,
        *(stride for one in sequences for stride in one.stride()[:2]),
        energy.contiguous(),
        width.contiguous(),
        state.contiguous(),
        row,
        green,
        last,
        length,
        channels,
        with_green=with_green,
        block=_BLOCK,
        num_warps=1,
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
    dh, dc, du = (value.new_empty((batch, length, channels)) for _ in range(3))
    grad_state = torch.empty_like(state, memory_format=torch.contiguous_format)
    # [batch, energy and width, channels]; float64 because a sum runs over all positions
    shifts = torch.empty((batch, 2, channels), dtype=torch.float64, device=value.device)
    last = torch.zeros_like(state) if grad_last is None else grad_last.contiguous()
    sequences = [_inner_contiguous(one) for one in (hop, value)]
    _backward_kernel[_grid(batch, channels)](
        *sequences,
        *(stride for one in sequences for stride in one.stride()[:2]),
        state.contiguous(),
        row,
        green,
        # a pointer that is not read has to point somewhere
        row if grad_row is None else grad_row.contiguous(),
        row if grad_green is None else grad_green.contiguous(),
        last,
        dh,
        dc,
        du,
        shifts,
        grad_state,
        length,
        channels,
        with_row=grad_row is not None,
        with_green=grad_green is not None,
        block=_BLOCK,
        num_warps=1,
    )
    energy, width = (shifts[:, part].sum(0).to(value.dtype) for part in range(2))
    return Gradients(dh, dc, du, energy, width, grad_state)


def _inner_contiguous(sequence: Tensor) -> Tensor:
    return sequence if sequence.stride(2) == 1 else sequence.contiguous()


def _grid(batch: int, channels: int) -> tuple[int, int]:
    return batch, triton.cdiv(channels, _BLOCK)


@triton.jit
def _forward_kernel(
    h, c, u, h_batch, h_step, c_batch, c_step, u_batch, u_step,
    energy, width, state, row, green, last, length, channels: tl.int64,
    with_green: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * block + tl.arange(0, block)
    inside = lane < channels
    e = tl.load(energy + lane, inside, 0.0)
    eta = tl.load(width + lane, inside, 1.0)
    first = state + b * 4 * channels + lane
    x_re = tl.load(first, inside, 0.0)
    x_im = tl.load(first + channels, inside, 0.0)
    g_re = tl.load(first + 2 * channels, inside, 0.0)
    g_im = tl.load(first + 3 * channels, inside, 0.0)
    h += b * h_batch + lane
    c += b * c_batch + lane
    u += b * u_batch + lane
    out = b * length * 2 * channels + lane
    for _ in range(length):
        hop = tl.load(c, inside, 0.0)
        d_re = e - tl.load(h, inside, 0.0) - hop * hop * g_re
        d_im = eta - hop * hop * g_im
        scale = 1.0 / (d_re * d_re + d_im * d_im)
        g_re, g_im = d_re * scale, -d_im * scale
        s_re = tl.load(u, inside, 0.0) + hop * x_re
        s_im = hop * x_im
        x_re, x_im = g_re * s_re - g_im * s_im, g_re * s_im + g_im * s_re
        tl.store(row + out, x_re, inside)
        tl.store(row + out + channels, x_im, inside)
        if with_green:
            tl.store(green + out, g_re, inside)
            tl.store(green + out + channels, g_im, inside)
        h += h_step
        c += c_step
        u += u_step
        out += 2 * channels
    final = last + b * 4 * channels + lane
    tl.store(final, x_re, inside)
    tl.store(final + channels, x_im, inside)
    tl.store(final + 2 * channels, g_re, inside)
    tl.store(final + 3 * channels, g_im, inside)


@triton.jit
def _backward_kernel(
    c, u, c_batch, c_step, u_batch, u_step, state, row, green, grad_row, grad_green, grad_last,
    dh, dc, du, shifts, grad_state, length, channels: tl.int64,
    with_row: tl.constexpr, with_green: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * block + tl.arange(0, block)
    inside = lane < channels
    end = grad_last + b * 4 * channels + lane
    # what mu and lambda hand on to the position before
    m_re = tl.load(end, inside, 0.0)
    m_im = tl.load(end + channels, inside, 0.0)
    l_re = tl.load(end + 2 * channels, inside, 0.0)
    l_im = tl.load(end + 3 * channels, inside, 0.0)
    sum_energy = tl.zeros((block,), tl.float64)
    sum_width = tl.zeros((block,), tl.float64)
    c += b * c_batch + (length - 1) * c_step + lane
    u += b * u_batch + (length - 1) * u_step + lane
    at = (b * length + length - 1) * channels + lane
    planes = (b * length + length - 1) * 2 * channels + lane
    g_re = tl.load(green + planes, inside, 0.0)
    g_im = tl.load(green + planes + channels, inside, 0.0)
    for i in range(length):
        if i + 1 < length:
            before = planes - 2 * channels
            p_re = tl.load(green + before, inside, 0.0)
            p_im = tl.load(green + before + channels, inside, 0.0)
            x_re = tl.load(row + before, inside, 0.0)
            x_im = tl.load(row + before + channels, inside, 0.0)
        else:
            first = state + b * 4 * channels + lane
            x_re = tl.load(first, inside, 0.0)
            x_im = tl.load(first + channels, inside, 0.0)
            p_re = tl.load(first + 2 * channels, inside, 0.0)
            p_im = tl.load(first + 3 * channels, inside, 0.0)
        hop = tl.load(c, inside, 0.0)
        mu_re, mu_im = m_re, m_im
        if with_row:
            mu_re += tl.load(grad_row + planes, inside, 0.0)
            mu_im += tl.load(grad_row + planes + channels, inside, 0.0)
        s_re = tl.load(u, inside, 0.0) + hop * x_re
        s_im = hop * x_im
        la_re = l_re + (s_re * mu_re + s_im * mu_im)
        la_im = l_im + (s_re * mu_im - s_im * mu_re)
        if with_green:
            la_re += tl.load(grad_green + planes, inside, 0.0)
            la_im += tl.load(grad_green + planes + channels, inside, 0.0)
        q_re, q_im = g_re * g_re - g_im * g_im, 2.0 * g_re * g_im
        w_re, w_im = q_re * la_re + q_im * la_im, q_re * la_im - q_im * la_re
        gm_re, gm_im = g_re * mu_re + g_im * mu_im, g_re * mu_im - g_im * mu_re
        tl.store(dh + at, w_re, inside)
        to_hop = x_re * gm_re + x_im * gm_im + 2.0 * hop * (p_re * w_re + p_im * w_im)
        tl.store(dc + at, to_hop, inside)
        tl.store(du + at, gm_re, inside)
        sum_energy -= w_re.to(tl.float64)
        sum_width -= w_im.to(tl.float64)
        m_re, m_im = hop * gm_re, hop * gm_im
        l_re, l_im = hop * hop * w_re, hop * hop * w_im
        g_re, g_im = p_re, p_im
        c -= c_step
        u -= u_step
        at -= channels
        planes -= 2 * channels
    begin = grad_state + b * 4 * channels + lane
    tl.store(begin, m_re, inside)
    tl.store(begin + channels, m_im, inside)
    tl.store(begin + 2 * channels, l_re, inside)
    tl.store(begin + 3 * channels, l_im, inside)
    total = shifts + b * 2 * channels + lane
    tl.store(total, sum_energy, inside)
    tl.store(total + channels, sum_width, inside)
