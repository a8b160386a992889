"""Compiled CPU loops: one pass over the sequence, all channels of a position together.

Rows are copied into tiles of fixed length first. A loop over a tile has a constant bound and a
single base pointer, which is what lets LLVM turn it into vector instructions; it also gives every
channel the same instructions whatever the length, so that decoding repeats the full pass exactly.
"""

import numba
import numpy as np

from sentinel_research.ops.compiled import compiled

TILE = 64
"""Channels of a tile."""
# steps whose contributions to the gradient of a shift are added up in the tensor's own precision
_STEPS_PER_SUM = 64
# contraction to fused multiply-add is the only licence: results do not depend on the order of sums
_FLAGS = ("contract", "nsz")
_merged = numba.njit(fastmath=set(_FLAGS), error_model="numpy", inline="always")


@_merged
def _tile_bounds(start, stop, tile):
    """First channel and number of channels; unsigned, because a signed index is tested for < 0."""
    low = start + tile * TILE
    return np.uint64(low), np.uint64(min(TILE, stop - low))


@_merged
def _load(t, into, planes, b, i, plane, low, size):
    """A row of one plane into a row of the tile, alone in its loop: so it becomes a block copy."""
    for j in range(size):
        t[into, j] = planes[b, i, plane, low + j]


@_merged
def _forward_step(t, v):
    """One position: t holds h, c, u; v holds Re x, Im x, Re g, Im g, E, eta."""
    one = t.dtype.type(1)
    for j in range(TILE):
        c = t[1, j]
        k = c * c
        d_re = v[4, j] - t[0, j] - k * v[2, j]
        d_im = v[5, j] - k * v[3, j]
        scale = one / (d_re * d_re + d_im * d_im)
        g_re, g_im = d_re * scale, -d_im * scale
        s_re, s_im = t[2, j] + c * v[0, j], c * v[1, j]
        v[0, j] = g_re * s_re - g_im * s_im
        v[1, j] = g_re * s_im + g_im * s_re
        v[2, j] = g_re
        v[3, j] = g_im


@_merged
def _forward_span(b, start, stop, h, c, u, strides, energy, width, state, row, green, last):
    num_tiles = (stop - start + TILE - 1) // TILE
    t = np.zeros((3, TILE), dtype=h.dtype)
    v = np.ones((num_tiles, 6, TILE), dtype=h.dtype)
    for tile in range(num_tiles):
        low, size = _tile_bounds(start, stop, tile)
        for j in range(size):
            for m in range(4):
                v[tile, m, j] = state[b, m, low + j]
            v[tile, 4, j] = energy[low + j]
            v[tile, 5, j] = width[low + j]
    for i in range(row.shape[1]):
        at_h = np.uint64(b * strides[0, 0] + i * strides[0, 1])
        at_c = np.uint64(b * strides[1, 0] + i * strides[1, 1])
        at_u = np.uint64(b * strides[2, 0] + i * strides[2, 1])
        for tile in range(num_tiles):
            low, size = _tile_bounds(start, stop, tile)
            for j in range(size):
                t[0, j] = h[at_h + low + j]
            for j in range(size):
                t[1, j] = c[at_c + low + j]
            for j in range(size):
                t[2, j] = u[at_u + low + j]
            _forward_step(t, v[tile])
            for j in range(size):
                row[b, i, 0, low + j] = v[tile, 0, j]
                row[b, i, 1, low + j] = v[tile, 1, j]
            if green.shape[1] > 0:
                for j in range(size):
                    green[b, i, 0, low + j] = v[tile, 2, j]
                    green[b, i, 1, low + j] = v[tile, 3, j]
    for tile in range(num_tiles):
        low, size = _tile_bounds(start, stop, tile)
        for j in range(size):
            for m in range(4):
                last[b, m, low + j] = v[tile, m, j]


@_merged
def _backward_step(t):
    """One position of the adjoint.

    t holds c, u, Re and Im of g, of g before, of x before, and of the gradients of x and g; then
    the gradients of h, c and u; then Re and Im of what mu and lambda hand on.
    """
    two = t.dtype.type(2)
    for j in range(TILE):
        c, u, g_re, g_im = t[0, j], t[1, j], t[2, j], t[3, j]
        p_re, p_im, x_re, x_im = t[4, j], t[5, j], t[6, j], t[7, j]
        mu_re, mu_im = t[8, j] + t[15, j], t[9, j] + t[16, j]
        s_re, s_im = u + c * x_re, c * x_im
        la_re = t[10, j] + t[17, j] + (s_re * mu_re + s_im * mu_im)
        la_im = t[11, j] + t[18, j] + (s_re * mu_im - s_im * mu_re)
        q_re, q_im = g_re * g_re - g_im * g_im, two * g_re * g_im
        w_re, w_im = q_re * la_re + q_im * la_im, q_re * la_im - q_im * la_re
        gm_re, gm_im = g_re * mu_re + g_im * mu_im, g_re * mu_im - g_im * mu_re
        t[15, j] = c * gm_re
        t[16, j] = c * gm_im
        t[17, j] = c * c * w_re
        t[18, j] = c * c * w_im
        t[12, j] = w_re
        # Re(conj(g x) mu) = Re(conj(x) conj(g) mu)
        t[13, j] = x_re * gm_re + x_im * gm_im + two * c * (p_re * w_re + p_im * w_im)
        t[14, j] = gm_re
        t[19, j] -= w_re
        t[20, j] -= w_im


@_merged
def _backward_span(
    b, start, stop, c, u, strides, state, row, green, grad_row, grad_green, grad_last,
    dh, dc, du, shifts, grad_state,
):  # fmt: skip
    num_tiles = (stop - start + TILE - 1) // TILE
    t = np.zeros((21, TILE), dtype=c.dtype)
    v = np.zeros((num_tiles, 6, TILE), dtype=c.dtype)
    for tile in range(num_tiles):
        low, size = _tile_bounds(start, stop, tile)
        for j in range(size):
            for m in range(4):
                v[tile, m, j] = grad_last[b, m, low + j]
    for i in range(row.shape[1] - 1, -1, -1):
        at_c = np.uint64(b * strides[0, 0] + i * strides[0, 1])
        at_u = np.uint64(b * strides[1, 0] + i * strides[1, 1])
        for tile in range(num_tiles):
            low, size = _tile_bounds(start, stop, tile)
            for j in range(size):
                t[0, j] = c[at_c + low + j]
            for j in range(size):
                t[1, j] = u[at_u + low + j]
            _load(t, 2, green, b, i, 0, low, size)
            _load(t, 3, green, b, i, 1, low, size)
            if i > 0:
                _load(t, 4, green, b, i - 1, 0, low, size)
                _load(t, 5, green, b, i - 1, 1, low, size)
                _load(t, 6, row, b, i - 1, 0, low, size)
                _load(t, 7, row, b, i - 1, 1, low, size)
            else:
                for j in range(size):
                    t[4, j], t[5, j] = state[b, 2, low + j], state[b, 3, low + j]
                    t[6, j], t[7, j] = state[b, 0, low + j], state[b, 1, low + j]
            if grad_row.shape[1] > 0:
                _load(t, 8, grad_row, b, i, 0, low, size)
                _load(t, 9, grad_row, b, i, 1, low, size)
            if grad_green.shape[1] > 0:
                _load(t, 10, grad_green, b, i, 0, low, size)
                _load(t, 11, grad_green, b, i, 1, low, size)
            for j in range(TILE):
                t[15, j], t[16, j], t[17, j] = v[tile, 0, j], v[tile, 1, j], v[tile, 2, j]
                t[18, j], t[19, j], t[20, j] = v[tile, 3, j], v[tile, 4, j], v[tile, 5, j]
            _backward_step(t)
            for j in range(TILE):
                v[tile, 0, j], v[tile, 1, j], v[tile, 2, j] = t[15, j], t[16, j], t[17, j]
                v[tile, 3, j], v[tile, 4, j], v[tile, 5, j] = t[18, j], t[19, j], t[20, j]
            for j in range(size):
                dh[b, i, low + j] = t[12, j]
                dc[b, i, low + j] = t[13, j]
                du[b, i, low + j] = t[14, j]
            if i % _STEPS_PER_SUM == 0:
                for j in range(size):
                    for m in range(2):
                        shifts[b, m, low + j] += v[tile, 4 + m, j]
                        v[tile, 4 + m, j] = 0
    for tile in range(num_tiles):
        low, size = _tile_bounds(start, stop, tile)
        for j in range(size):
            for m in range(4):
                grad_state[b, m, low + j] = v[tile, m, j]


@compiled(_FLAGS)
def forward(first, stop, span, h, c, u, strides, energy, width, state, row, green, last):
    num_spans = (row.shape[3] + span - 1) // span
    for item in range(first, stop):
        low = (item % num_spans) * span
        high = min(low + span, row.shape[3])
        _forward_span(
            item // num_spans, low, high, h, c, u, strides, energy, width, state, row, green, last
        )


@compiled(_FLAGS)
def backward(
    first, stop, span, c, u, strides, state, row, green, grad_row, grad_green, grad_last,
    dh, dc, du, shifts, grad_state,
):  # fmt: skip
    num_spans = (row.shape[3] + span - 1) // span
    for item in range(first, stop):
        low = (item % num_spans) * span
        high = min(low + span, row.shape[3])
        _backward_span(
            item // num_spans, low, high,
            c, u, strides, state, row, green, grad_row, grad_green, grad_last,
            dh, dc, du, shifts, grad_state,
        )  # fmt: skip
