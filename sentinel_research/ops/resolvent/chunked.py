"""Portable form in torch operations: chunks side by side, their ends joined by a short loop.

A chunk acts on the Green's function before it as a Moebius map, a 2x2 matrix. Only its direction
matters, so every product is divided by its largest entry, which is exact. Given g, both the last
row and the adjoint are affine recursions.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sentinel_research.ops.resolvent.naive import pack, unpack
from sentinel_research.ops.resolvent.outputs import Gradients


def forward(
    potential: Float[Tensor, "batch seq channels"],
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    energy: Float[Tensor, " channels"],
    width: Float[Tensor, " channels"],
    state: Float[Tensor, "batch 4 channels"],
) -> Float[Tensor, "batch seq 4 channels"]:
    """See `naive.forward`, whose arguments and result these are; without autograd."""
    first_row, first_green = unpack(state)
    diagonal = torch.complex(energy, width) - potential
    green = _greens(diagonal, hop * hop, first_green)
    row = _affine(green * hop, green * value, first_row)
    return pack(row, green)


def backward(
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    state: Float[Tensor, "batch 4 channels"],
    planes: Float[Tensor, "batch seq 4 channels"],
    grad: Float[Tensor, "batch seq 4 channels"],
) -> Gradients:
    """The adjoint of `forward`: two affine recursions from the last position to the first.

    Args:
        hop: As given to `forward`.
        value: As given to `forward`.
        state: As given to `forward`.
        planes: What `forward` returned.
        grad: Gradient of the scalar with respect to `planes`.
    """
    green = unpack(planes)[1]
    row_before, green_before = unpack(torch.cat([state[:, None], planes[:, :-1]], 1))
    grad_row, grad_green = unpack(grad)
    through_row = (hop * green).conj()
    through_green = through_row * through_row
    mu = _reverse_affine(_next(through_row), grad_row)
    source = grad_green + (value + hop * row_before).conj() * mu
    lam = _reverse_affine(_next(through_green), source)
    to_diagonal = (green * green).conj() * lam
    grad_hop = (green * row_before).conj() * mu
    grad_hop = grad_hop + 2 * hop * green_before.conj() * to_diagonal
    return Gradients(
        potential=to_diagonal.real,
        hop=grad_hop.real,
        value=(green.conj() * mu).real,
        energy=-to_diagonal.real.sum((0, 1)),
        width=-to_diagonal.imag.sum((0, 1)),
        state=pack(through_row[:, 0] * mu[:, 0], through_green[:, 0] * lam[:, 0]),
    )


def _next(factors: Complex[Tensor, "batch seq channels"]) -> Complex[Tensor, "batch seq channels"]:
    """Factors of the following position; the last has none."""
    return torch.cat([factors[:, 1:], torch.zeros_like(factors[:, :1])], 1)


def _chunk(sequence: Tensor, fill: float) -> Tensor:
    """`[batch, seq, channels]` as `[steps, batch, num_chunks, channels]`, filled up at the end."""
    batch, length, channels = sequence.shape
    steps = max(1, math.isqrt(length))
    num_chunks = -(-length // steps)
    missing = num_chunks * steps - length
    if missing:
        filler = sequence.new_full((batch, missing, channels), fill)
        sequence = torch.cat([sequence, filler], 1)
    return sequence.reshape(batch, num_chunks, steps, channels).permute(2, 0, 1, 3)


def _unchunk(chunks: Tensor, length: int) -> Tensor:
    """The inverse of `_chunk`."""
    steps, batch, num_chunks, channels = chunks.shape
    joined = chunks.permute(1, 2, 0, 3).reshape(batch, num_chunks * steps, channels)
    return joined[:, :length]


def _affine(factors: Tensor, sources: Tensor, first: Tensor) -> Tensor:
    """y_i = a_i y_(i-1) + b_i for all i, `[batch, seq, channels]`."""
    length = factors.shape[1]
    a, b = _chunk(factors, 0.0), _chunk(sources, 0.0)
    inner, products = [b[0]], [a[0]]
    for step in range(1, len(a)):
        inner.append(a[step] * inner[-1] + b[step])
        products.append(a[step] * products[-1])
    ends = [first]
    for chunk in range(a.shape[2] - 1):
        ends.append(inner[-1][:, chunk] + products[-1][:, chunk] * ends[-1])
    before = torch.stack(ends, 1)
    return _unchunk(torch.stack(inner) + torch.stack(products) * before, length)


def _reverse_affine(factors: Tensor, sources: Tensor) -> Tensor:
    """y_i = a_i y_(i+1) + b_i for all i, zero after the last."""
    first = torch.zeros_like(sources[:, 0])
    return _affine(factors.flip(1), sources.flip(1), first).flip(1)


def _greens(
    diagonal: Complex[Tensor, "batch seq channels"],
    hop_squared: Float[Tensor, "batch seq channels"],
    first: Complex[Tensor, "batch channels"],
) -> Complex[Tensor, "batch seq channels"]:
    """g_i = 1 / (d_i - k_i g_(i-1)) for all i."""
    length = diagonal.shape[1]
    # an end filled with ones and zeros stays finite; it is cut off
    d, k = _chunk(diagonal, 1.0), _chunk(hop_squared, 0.0)
    green, ends = None, [first]
    if d.shape[2] > 1:
        maps = _chunk_maps(d, k)
        for chunk in range(d.shape[2] - 1):
            a, b, c, e = (entry[:, chunk] for entry in maps)
            ends.append((a * ends[-1] + b) / (c * ends[-1] + e))
    green = torch.stack(ends, 1)
    found = []
    for step in range(len(d)):
        green = 1 / (d[step] - k[step] * green)
        found.append(green)
    return _unchunk(torch.stack(found), length)


def _chunk_maps(d: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entries of the matrix of every chunk, up to a common factor."""
    a, b = torch.zeros_like(d[0]), torch.ones_like(d[0])
    c, e = torch.ones_like(d[0]) * -k[0], d[0]
    for step in range(1, len(d)):
        # [[0, 1], [-k, d]] times what was before
        a, b, c, e = c, e, d[step] * c - k[step] * a, d[step] * e - k[step] * b
        size = torch.stack([entry.abs() for entry in (a, b, c, e)]).amax(0)
        a, b, c, e = a / size, b / size, c / size, e / size
    return a, b, c, e
