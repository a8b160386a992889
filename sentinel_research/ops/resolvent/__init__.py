"""The causal resolvent: of a tridiagonal Hamiltonian restricted to the positions seen so far.

Per channel, with real potential h_i, real hop c_i between positions i-1 and i, shift z = E + i eta
with eta > 0, and H = tridiag(c, h, c):

    g_i = [(z - H_{0..i})^-1]_{ii}           = 1 / (z - h_i - c_i^2 g_{i-1}),   g_{-1} = 0
    x_i = e_i^T (z - H_{0..i})^-1 u_{0..i}   = g_i (u_i + c_i x_{i-1}),         x_{-1} = 0

g is the left Green's function, x the last row of the resolvent applied to the values u. H is
Hermitian, so that |g_i| <= 1/eta and |x_i| <= |u_{0..i}|/eta for every real h and c, without any
clamp. This is the forward half of the Thomas algorithm: O(N) time, O(1) state.

Reference: Economou, Green's Functions in Quantum Physics, 3rd ed., section 5.3 and appendix on the
recursion method; the two-sided form for language models is ResNet-BK,
https://github.com/neko-jpg/Project-ResNet-BK-An-O-N-Language-Model-Architecture. Differs from it:
the restriction to the past makes it causal, and x carries content, not only the potential.

Glossary: planes are real tensors that hold the real and imaginary part in their last dimension
but one.
"""

import importlib.util
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.ops.resolvent.operator import run

IMPLEMENTATIONS = ("naive", "chunked", "numba", "triton")
"""A loop (the oracle), portable torch, the CPU kernel, the GPU kernel."""


class Resolvent(NamedTuple):
    """What `resolvent` returns."""

    row: Float[Tensor, "batch seq 2 channels"]
    """Re x and Im x."""
    green: Float[Tensor, "batch length 2 channels"]
    """Re g and Im g; of length 0 unless asked for."""
    state: Float[Tensor, "batch 4 channels"]
    """Re x, Im x, Re g and Im g of the last position, in float32 or float64."""


def resolvent(
    potential: Float[Tensor, "batch seq channels"],
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    energy: Float[Tensor, " channels"],
    width: Float[Tensor, " channels"],
    *,
    state: Float[Tensor, "batch 4 channels"] | None = None,
    with_green: bool = False,
    implementation: str = "auto",
) -> Resolvent:
    """Last row of the causal resolvent, with its exact adjoint as gradient.

    Half-precision inputs are computed in float32; `row` and `green` have the type of `value`.

    Args:
        potential: h_i.
        hop: c_i; the first acts on `state` only.
        value: u_i.
        energy: E.
        width: eta, positive: the reciprocal of the longest memory in positions.
        state: Of the position before the first; None starts a sequence.
        with_green: Return g as well.
        implementation: One of `IMPLEMENTATIONS`, or `auto`: see `implementation_for`.

    Raises:
        UsageError: for an unknown implementation, one that cannot run here, or an empty sequence.

    Example:
        >>> one = torch.ones(1, 3, 1)
        >>> found = resolvent(0 * one, one, one, torch.zeros(1), torch.ones(1))
        >>> found.row[0, 0].flatten().tolist()
        [0.0, -1.0]
    """
    name = implementation_for(value.device, implementation)
    if value.shape[1] == 0:
        raise UsageError("the resolvent of an empty sequence", "Give at least one position.")
    dtype = torch.promote_types(value.dtype, torch.float32)
    batch, _, channels = value.shape
    if state is None:
        state = torch.zeros((batch, 4, channels), dtype=dtype, device=value.device)
    row, green, last = run(
        potential.to(dtype),
        hop.to(dtype),
        value.to(dtype),
        energy.to(dtype),
        width.to(dtype),
        state.to(dtype),
        with_green,
        name,
    )
    return Resolvent(row.to(value.dtype), green.to(value.dtype), last)


def green_diagonal(
    potential: Float[Tensor, "batch seq channels"],
    hop: Float[Tensor, "batch seq channels"],
    energy: Float[Tensor, " channels"],
    width: Float[Tensor, " channels"],
    *,
    implementation: str = "auto",
) -> Float[Tensor, "batch seq 2 channels"]:
    """G_ii = [(z - H)^-1]_ii of the whole sequence, by a sweep from each side.

    Every entry depends on all positions: for encoders only, under a causal loss it would leak.

    Args:
        potential: h_i.
        hop: c_i; the first has no effect.
        energy: E.
        width: eta, positive.
        implementation: See `resolvent`.

    Returns:
        Re G_ii and Im G_ii.

    Raises:
        UsageError: see `resolvent`.
    """

    def sweep(h: Tensor, c: Tensor) -> Tensor:
        found = resolvent(
            h, c, torch.zeros_like(h), energy, width,
            with_green=True, implementation=implementation,
        )  # fmt: skip
        return found.green

    # seen from the right, the hop between i and i + 1 comes with position i
    hop_after = torch.cat([hop[:, 1:], torch.zeros_like(hop[:, :1])], 1)
    left = sweep(potential, hop)
    right = sweep(potential.flip(1), hop_after.flip(1)).flip(1)
    after = torch.cat([right[:, 1:], torch.zeros_like(right[:, :1])], 1)
    # 1/left is z - h_i - c_i^2 left_{i-1} already
    real, imag = left.unbind(2)
    inverse = torch.complex(real, -imag) / (real * real + imag * imag)
    found = 1 / (inverse - hop_after.square() * torch.complex(*after.unbind(2)))
    return torch.stack([found.real, found.imag], 2)


def implementation_for(device: torch.device, name: str = "auto") -> str:
    """The implementation that runs.

    Args:
        device: Where the tensors are.
        name: What was asked for; `auto` is `numba` on a CPU, `triton` on CUDA where Triton is
            installed, and `chunked` elsewhere.

    Raises:
        UsageError: for an unknown name, or one that cannot run on the device.
    """
    if name == "auto":
        has_triton = device.type == "cuda" and importlib.util.find_spec("triton") is not None
        return "triton" if has_triton else {"cpu": "numba"}.get(device.type, "chunked")
    if name not in IMPLEMENTATIONS:
        raise UsageError(
            f"unknown implementation '{name}' of the resolvent",
            did_you_mean(name, ("auto", *IMPLEMENTATIONS)),
        )
    needed = {"numba": "cpu", "triton": "cuda"}.get(name, device.type)
    if needed != device.type:
        raise UsageError(
            f"the {name} resolvent runs on {needed}, the tensors are on {device.type}",
            "Use auto, chunked or naive.",
        )
    return name
