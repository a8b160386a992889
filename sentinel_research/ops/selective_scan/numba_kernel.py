"""The selective scan on CPU: forward and exact adjoint, compiled by numba.

Channels are taken in blocks of `BLOCK`: the state of a block stays in the first-level cache, and
loops over its channels become vector instructions. They do so only where LLVM can tell that arrays
do not overlap: arrays that the kernel made itself, in one function with the loop. So rows of inputs
and outputs are copied, and helpers are merged into the kernels by force (each of these is worth a
factor of two to six in time).

Instead of all states the forward pass keeps one every `EVERY` steps, and the adjoint computes those
between again. Sums over channels are returned by block, so that no result depends on the number of
threads.

Glossary: names are those of `quantities`; `gx` is the gradient of the loss in `x`, and so on. A job
is a sequence and a block of channels; a lane is a channel of the block.
"""

from typing import Any

import numba
import numpy as np

from sentinel_research.ops.compiled import compiled
from sentinel_research.ops.vector_math import exp, sigmoid, softplus

BLOCK = 64
"""Channels of one job."""
EVERY = 32
"""Steps between stored states."""

# sums over channels may be reordered; not-a-number and infinity keep their meaning
_SUMS = {"contract", "reassoc", "nsz"}
_merged = numba.njit(fastmath=_SUMS, error_model="numpy", forceinline=True)


@_merged
def _fill(lanes: Any, rows: Any) -> None:
    """Put [width, d_state] into [d_state, BLOCK]; lanes beyond the last channel are zero."""
    lanes[:] = 0
    for j in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            lanes[n, j] = rows[j, n]


@_merged
def _lanes(dtype: Any) -> Any:
    return np.zeros(BLOCK, dtype)


@_merged
def _copy(target: Any, source: Any, width: Any) -> None:
    for j in range(width):
        target[j] = source[j]


@_merged
def _enter(x: Any, dt: Any, bias: Any, skip: Any, step: Any, entering: Any, out: Any) -> None:
    """What a token brings: its step, what enters the state, and what passes by; all [BLOCK]."""
    for j in range(BLOCK):
        step[j] = softplus(dt[j] + bias[j])
        entering[j] = step[j] * x[j]
        out[j] = skip[j] * x[j]


@_merged
def _advance(
    state: Any, rate: Any, step: Any, entering: Any, out: Any, write: Any, read: Any
) -> None:
    """One token: states [d_state, BLOCK] in place, what is read from them is added to `out`."""
    for n in range(state.shape[0]):
        weight_in, weight_out = write[n], read[n]
        for j in range(BLOCK):
            value = exp(step[j] * rate[n, j]) * state[n, j] + entering[j] * weight_in
            state[n, j] = value
            out[j] += weight_out * value


@compiled(_SUMS)
def forward(first_job: Any, last_job: Any, given: Any, y: Any, final: Any, kept: Any) -> None:
    """Scan the jobs from `first_job` to before `last_job` into `y` and `final`.

    `given` is a ScanInputs of C-contiguous arrays. `kept` [jobs, chunks, d_state, BLOCK] receives
    the state before every chunk of `EVERY` tokens, unless it has no chunks.
    """
    _, seq, channels = given.x.shape
    num_blocks = (channels + BLOCK - 1) // BLOCK
    shape, dtype = (given.rate.shape[1], BLOCK), given.x.dtype
    state, rate = np.zeros(shape, dtype), np.zeros(shape, dtype)
    x, dt, gate = _lanes(dtype), _lanes(dtype), _lanes(dtype)
    bias, skip = _lanes(dtype), _lanes(dtype)
    step, entering, out = _lanes(dtype), _lanes(dtype), _lanes(dtype)
    for job in range(first_job, last_job):
        b, first = job // num_blocks, job % num_blocks * BLOCK
        width = min(BLOCK, channels - first)
        last = first + width
        _fill(state, given.state[b, first:last])
        _fill(rate, given.rate[first:last])
        # lanes beyond the last channel compute with zeros
        for lanes in (x, dt, gate, bias, skip):
            lanes[:] = 0
        _copy(bias, given.dt_bias[first:last], width)
        _copy(skip, given.skip[first:last], width)
        for t in range(seq):
            if t % EVERY == 0 and kept.shape[1] > 0:
                kept[job, t // EVERY] = state
            _copy(x, given.x[b, t, first:last], width)
            _copy(dt, given.dt[b, t, first:last], width)
            _copy(gate, given.gate[b, t, first:last], width)
            _enter(x, dt, bias, skip, step, entering, out)
            _advance(state, rate, step, entering, out, given.write[b, t], given.read[b, t])
            for j in range(BLOCK):
                out[j] = out[j] * gate[j] * sigmoid(gate[j])
            _copy(y[b, t, first:last], out, width)
        final[b, first:last] = state[:, :width].T


@_merged
def _advance_kept(
    states: Any, decay: Any, i: Any, rate: Any, step: Any, entering: Any, out: Any, write: Any,
    read: Any,
) -> None:  # fmt: skip
    """`_advance` from `states[i]` to `states[i + 1]`, which also keeps the decay."""
    for n in range(rate.shape[0]):
        weight_in, weight_out = write[n], read[n]
        for j in range(BLOCK):
            factor = exp(step[j] * rate[n, j])
            value = factor * states[i, n, j] + entering[j] * weight_in
            decay[i, n, j] = factor
            states[i + 1, n, j] = value
            out[j] += weight_out * value


@_merged
def _go_back(
    gstate: Any, states: Any, decay: Any, i: Any, rate: Any, step: Any, entering: Any, gout: Any,
    write: Any, read: Any, gstep: Any, gentering: Any, grate: Any, gwrite: Any, gread: Any,
) -> None:  # fmt: skip
    """The adjoint of `_advance`: `gstate` goes one token back, others are added to or set."""
    for n in range(rate.shape[0]):
        weight_in, weight_out = write[n], read[n]
        # a zero of the arrays' own type
        sum_write = sum_read = weight_in - weight_in
        for j in range(BLOCK):
            g = gstate[n, j] + gout[j] * weight_out
            sum_read += gout[j] * states[i + 1, n, j]
            sum_write += g * entering[j]
            gentering[j] += g * weight_in
            carried = g * decay[i, n, j]
            through = carried * states[i, n, j]
            gstep[j] += through * rate[n, j]
            grate[n, j] += through * step[j]
            gstate[n, j] = carried
        gwrite[n] = sum_write
        gread[n] = sum_read


@_merged
def _gate_back(gate: Any, gy: Any, out: Any, gout: Any, ggate: Any) -> None:
    """The adjoint of `out * silu(gate)`; all [BLOCK]."""
    for j in range(BLOCK):
        opened = sigmoid(gate[j])
        gout[j] = gy[j] * gate[j] * opened
        # silu' = sigmoid + silu * (1 - sigmoid)
        ggate[j] = gy[j] * out[j] * (opened + gate[j] * opened * sigmoid(-gate[j]))


@_merged
def _enter_back(
    x: Any, dt: Any, bias: Any, skip: Any, step: Any, gout: Any, gstep: Any, gentering: Any,
    gx: Any, gdt: Any, gbias: Any, gskip: Any,
) -> None:  # fmt: skip
    """The adjoint of `_enter`; all [BLOCK]."""
    for j in range(BLOCK):
        gx[j] = gout[j] * skip[j] + gentering[j] * step[j]
        gdt[j] = (gstep[j] + gentering[j] * x[j]) * sigmoid(dt[j] + bias[j])
        gbias[j] += gdt[j]
        gskip[j] += gout[j] * x[j]


@_merged
def _token(given: Any, place: Any, x: Any, dt: Any) -> None:
    """Copy one token's rows of `x` and `dt`."""
    b, t, first, width = place
    _copy(x, given.x[b, t, first : first + width], width)
    _copy(dt, given.dt[b, t, first : first + width], width)


@_merged
def _give(found: Any, place: Any, gx: Any, gdt: Any, ggate: Any) -> None:
    """Put one token's gradients where they belong."""
    b, t, first, width = place
    _copy(found.x[b, t, first : first + width], gx, width)
    _copy(found.dt[b, t, first : first + width], gdt, width)
    _copy(found.gate[b, t, first : first + width], ggate, width)


@compiled(_SUMS)
def backward(
    first_job: Any, last_job: Any, given: Any, kept: Any, gy: Any, gfinal: Any, found: Any
) -> None:
    """The adjoint of `forward`: gradients of its inputs from those of `y` and `final`.

    `found` is a ScanInputs that receives the gradients: those of parameters by sequence
    ([batch, ...]), those of `write` and `read` by block of channels ([blocks, batch, seq,
    d_state]); the caller sums them.
    """
    _, seq, channels = given.x.shape
    num_blocks = (channels + BLOCK - 1) // BLOCK
    shape, dtype = (given.rate.shape[1], BLOCK), given.x.dtype
    rate, gstate, grate = np.zeros(shape, dtype), np.zeros(shape, dtype), np.zeros(shape, dtype)
    states, decay = np.zeros((EVERY + 1, *shape), dtype), np.zeros((EVERY, *shape), dtype)
    x, dt, gate, gys = _lanes(dtype), _lanes(dtype), _lanes(dtype), _lanes(dtype)
    bias, skip, gbias, gskip = _lanes(dtype), _lanes(dtype), _lanes(dtype), _lanes(dtype)
    step, entering, gout = _lanes(dtype), _lanes(dtype), _lanes(dtype)
    gstep, gentering, ggate = _lanes(dtype), _lanes(dtype), _lanes(dtype)
    gx, gdt, outs = _lanes(dtype), _lanes(dtype), np.zeros((EVERY, BLOCK), dtype)
    for job in range(first_job, last_job):
        b, first = job // num_blocks, job % num_blocks * BLOCK
        width = min(BLOCK, channels - first)
        _fill(gstate, gfinal[b, first : first + width])
        _fill(rate, given.rate[first : first + width])
        # lanes beyond the last channel compute with zeros
        for lanes in (x, dt, gate, gys, bias, skip, gbias, gskip):
            lanes[:] = 0
        grate[:] = 0
        _copy(bias, given.dt_bias[first : first + width], width)
        _copy(skip, given.skip[first : first + width], width)
        for start in range((seq - 1) // EVERY * EVERY, -1, -EVERY):
            length = min(EVERY, seq - start)
            states[0] = kept[job, start // EVERY]
            for i in range(length):
                write, read = given.write[b, start + i], given.read[b, start + i]
                _token(given, (b, start + i, first, width), x, dt)
                _enter(x, dt, bias, skip, step, entering, gout)
                _advance_kept(states, decay, i, rate, step, entering, gout, write, read)
                outs[i] = gout
            for i in range(length - 1, -1, -1):
                place = (b, start + i, first, width)
                write, read = given.write[b, start + i], given.read[b, start + i]
                sums = (
                    found.write[job % num_blocks, b, start + i],
                    found.read[job % num_blocks, b, start + i],
                )
                _token(given, place, x, dt)
                _enter(x, dt, bias, skip, step, entering, gout)
                _copy(gate, given.gate[b, start + i, first : first + width], width)
                _copy(gys, gy[b, start + i, first : first + width], width)
                _gate_back(gate, gys, outs[i], gout, ggate)
                gstep[:], gentering[:] = 0, 0
                _go_back(
                    gstate, states, decay, i, rate, step, entering, gout, write, read,
                    gstep, gentering, grate, sums[0], sums[1],
                )  # fmt: skip
                _enter_back(x, dt, bias, skip, step, gout, gstep, gentering, gx, gdt, gbias, gskip)
                _give(found, place, gx, gdt, ggate)
        found.rate[b, first : first + width] = grate[:, :width].T
        found.state[b, first : first + width] = gstate[:, :width].T
        _copy(found.dt_bias[b, first : first + width], gbias, width)
        _copy(found.skip[b, first : first + width], gskip, width)
