"""Round weights to uniform grids, with straight-through gradients.

A grid is a step `s > 0` and a whole number `z`; its values are `(q - z) s` for whole `q` in a range
of `2^bits` numbers, or `2^bits - 1` around zero. Zero is always one of them: `q = z`. Rounding is
torch's own operator; which step and zero a row of weights has is decided here.

A step has `24 - bits` binary digits, of float32's 24. Every product `(q - z) s` is then exact, so
that weights on a grid have this very grid: to quantise them again changes no bit. The end of a row
may lie `2^(2 bits - 23)` of a step outside of its grid, of an asymmetric one up to three times that
and `2^(bits - 15)`; it is rounded to the end of the grid.

Glossary: `O` outputs, `I` inputs, `G` groups of an output's inputs.

References: [1] Jacob et al. 2018, equation 1 and section 3 (per-channel grids, narrow range of
weights: section 2.3), https://arxiv.org/abs/1712.05877. [2] Bengio et al. 2013, section 4
(straight-through estimator), https://arxiv.org/abs/1308.3432.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float32, Int32
from torch import Tensor
from torch.nn import functional as F

from sentinel_research.specs import QuantiseSpec

# far below any weight, and its inverse is finite: the step of rows of zeros
_SMALLEST_STEP = 2.0**-100
# where both ends of a row lie so near the middle of two values, float32 may round both inwards
_NEAR_TIE = 2.0**-10
# more than float32's errors in that place, less than anybody notices
_NARROWER = 1 - 2.0**-15


class Grid(NamedTuple):
    """The grids of a matrix."""

    steps: Float32[Tensor, "outputs groups"]
    """`s`."""
    zeros: Int32[Tensor, "outputs groups"]
    """`z`; 0 for symmetric grids."""
    lowest: int
    """The least `q`."""
    highest: int
    """The largest `q`."""


def grid_of(weight: Float[Tensor, "outputs inputs"], spec: QuantiseSpec) -> Grid:
    """The narrowest grids that reach the least and the largest weight of every group.

    Args:
        weight: `[O, I]`, `I` at least 1. A row with weights that are not finite gets a step that is
            not finite, and so do all of its rounded weights.
        spec: Bits and groups.

    Example:
        >>> import torch
        >>> steps, zeros, *ends = grid_of(torch.tensor([[0.5, -3.5]]), QuantiseSpec(bits=4))
        >>> steps.item(), zeros.item(), ends
        (0.5, 0, [-7, 7])
    """
    with torch.no_grad():
        groups = _grouped(weight, spec.group_size).float()
        if spec.symmetric:
            highest = 2 ** (spec.bits - 1) - 1
            steps = _short(groups.abs().amax(-1) / highest, spec.bits)
            return Grid(steps, torch.zeros_like(steps, dtype=torch.int32), -highest, highest)
        highest = 2**spec.bits - 1
        low, high = (-groups.amin(-1)).clamp(min=0), groups.amax(-1).clamp(min=0)
        steps = _short((high + low) / highest, spec.bits)
        below = low / steps
        is_tie = (below - below.floor() - 0.5).abs() < _NEAR_TIE
        steps = torch.where(is_tie, _short(steps * _NARROWER, spec.bits), steps)
        # torch's operator multiplies by the inverse: both have to round the least weight alike
        zeros = (low * (1 / steps)).round().nan_to_num(0).int()
        return Grid(steps, zeros.clamp(max=highest), 0, highest)


def fake_quantise(
    weight: Float[Tensor, "outputs inputs"], spec: QuantiseSpec, grid: Grid | None = None
) -> Float[Tensor, "outputs inputs"]:
    """Every weight rounded to the nearest value of its grid, half-way to the even one.

    The gradient is that of the identity [2], at the ends of a grid too: torch's operator has none
    where it clips, and the end that asymmetric grids clip by half a step would never move again.

    Args:
        weight: `[O, I]`. In float32 and float64 the result lies exactly on the grid; of a shorter
            type it is what that type has nearest to it.
        spec: Bits and groups.
        grid: Of the weights; that of `grid_of` by default.

    Returns:
        A tensor of the weight's type.

    Example:
        >>> import torch
        >>> fake_quantise(torch.tensor([[0.6, -3.5, 0.0]]), QuantiseSpec(bits=4)).tolist()
        [[0.5, -3.5, 0.0]]
    """
    steps, zeros, lowest, highest = grid_of(weight, spec) if grid is None else grid
    groups = _grouped(weight, spec.group_size)  # [O, G, group]
    rows = _Rounded.apply(groups.flatten(0, 1), steps.flatten(), zeros.flatten(), lowest, highest)
    return rows.view(groups.shape).flatten(1)[:, : weight.shape[1]]


class _Rounded(torch.autograd.Function):
    """Torch's rounding to grids, with the gradient of the identity."""

    @staticmethod
    def forward(
        _ctx: Any, rows: Tensor, steps: Tensor, zeros: Tensor, lowest: int, highest: int
    ) -> Tensor:
        """The rounded rows `[O G, group]`."""
        return torch.fake_quantize_per_channel_affine(rows, steps, zeros, 0, lowest, highest)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through."""
        return gradients[0], None, None, None, None


def _grouped(weight: Tensor, group_size: int | None) -> Float[Tensor, "outputs groups group"]:
    """The last group is filled up with zeros, which every grid has and no grid depends on."""
    width = weight.shape[1]
    size = min(group_size or width, width)
    padded = F.pad(weight, (0, -width % size))
    return padded.unflatten(1, (-1, size))


def _short(
    steps: Float32[Tensor, "outputs groups"], bits: int
) -> Float32[Tensor, "outputs groups"]:
    """Without the last `bits` binary digits, and not too small to divide by."""
    cut = (steps.view(torch.int32) & -(2**bits)).view(torch.float32)
    return cut.clamp(min=_SMALLEST_STEP)
