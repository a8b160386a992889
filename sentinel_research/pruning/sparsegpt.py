"""SparseGPT [1]: choose which weights of a linear layer go, and repair the ones that stay.

Glossary: see `sparse`, and `H = X X^T`; `D = H + damping * mean(diag H) I` the damped Hessian; `U`
the upper triangular matrix with `U^T U = D^-1`.

Reference: [1] Frantar and Alistarh 2023, SparseGPT, algorithm 1; the OBS update is equation 3,
https://arxiv.org/abs/2301.00774, code https://github.com/IST-DASLab/sparsegpt. We differ from that
code: everything is float64, the number of zeros is exact where the code's threshold takes one
weight too many and all ties, weights of dead inputs go first but not beyond that number, and `U`
comes from one Cholesky factorisation of `D` instead of one of `D` and one of `D^-1`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sentinel_research.errors import UsageError
from sentinel_research.pruning.sparse import all_but_lowest, check_finite, check_group, num_zeros


class SparseWeight(NamedTuple):
    """A pruned weight and what it costs."""

    weight: Float[Tensor, "rows columns"]
    """Exactly 0 where a weight went; the type of the weight that came in."""
    keep: Bool[Tensor, "rows columns"]
    """True where a weight stays."""
    squared_error: float
    """`|| (W - W') X ||^2 = tr((W - W') H (W - W')^T)`, not damped, for `weight` as returned."""


@torch.no_grad()
def sparsegpt(
    weight: Float[Tensor, "rows columns"],
    hessian: Float64[Tensor, "columns columns"],
    fraction: float | None,
    *,
    group: tuple[int, int] | None = None,
    block_size: int = 128,
    damping: float = 0.01,
) -> SparseWeight:
    """Prune from the first column to the last, each time repairing the columns that follow.

    Args:
        weight: The weight.
        hessian: `X X^T` of the calibration inputs, not damped.
        fraction: Share of the weights to remove, in [0, 1]; exact over the matrix, and within one
            weight over every block of columns. None if `group` is given.
        group: `(num_zero, m)` for n:m sparsity instead of a fraction.
        block_size: Columns whose mask is chosen at once, all rows together; for n:m only the
            unit of lazy updates, rounded up to whole groups.
        damping: Share of the mean of `diag(H)` to add to the diagonal, 0 or more. As in the code
            of [1] a dead input, which was 0 on every token, enters that mean as 1.

    Returns:
        The pruned weight, the mask and the error.

    Raises:
        UsageError: if not exactly one of `fraction` and `group` is given, one of them or the block
            size is out of range, a matrix is not finite, or the Hessian does not fit.

    Example:
        >>> sparsegpt(torch.tensor([[3.0, 1.0]]), torch.eye(2).double(), 0.5).weight.tolist()
        [[3.0, 0.0]]
    """
    _check_request(weight, hessian, fraction, group, block_size)
    if group is not None:
        block_size = math.ceil(block_size / group[1]) * group[1]
    factor = _inverse_factor(hessian.double(), damping)
    is_dead = hessian.diagonal() == 0
    # without an input a weight costs nothing
    solved = weight.double().masked_fill(is_dead, 0.0)
    keep = torch.ones_like(weight, dtype=torch.bool)
    for start in range(0, weight.shape[1], block_size):
        block = slice(start, start + block_size)
        if fraction is not None:
            keep[:, block] = _keep_in_block(solved, factor, fraction, block)
        errors = _prune_block(solved[:, block], keep[:, block], factor[block, block], group)
        solved[:, block.stop :] -= errors @ factor[block, block.stop :]
    pruned = torch.where(keep & is_dead, weight, solved.to(weight.dtype))
    change = weight.double() - pruned.double()
    return SparseWeight(pruned, keep, float(((change @ hessian.double()) * change).sum()))


def _inverse_factor(
    hessian: Float64[Tensor, "columns columns"], damping: float
) -> Float64[Tensor, "columns columns"]:
    """`U`: factorise `D` with its columns in reverse order, invert, reverse back.

    `U[j, j:]` is the first row of `inverse(D[j:, j:])` over the root of that row's first entry.
    """
    diagonal = hessian.diagonal()
    diagonal = diagonal.masked_fill(diagonal == 0, 1.0)
    damped = hessian.clone()
    damped.diagonal().copy_(diagonal + damping * diagonal.mean())
    lower, info = torch.linalg.cholesky_ex(damped.flip(0, 1))
    if info.item():
        raise UsageError(
            f"the Hessian is not positive definite with damping {damping}",
            "It must be X X^T of the layer's inputs; raise the damping (0.01 is usual).",
        )
    identity = torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    return torch.linalg.solve_triangular(lower, identity, upper=False).flip(0, 1)


def _keep_in_block(
    solved: Float64[Tensor, "rows columns"],
    factor: Float64[Tensor, "columns columns"],
    fraction: float,
    block: slice,
) -> Bool[Tensor, "rows block"]:
    """The mask of a block by `w^2 / U_jj^2`, the error that removing the weight alone leaves.

    Rounding down all columns so far, not every block, makes the total exact.
    """
    scores = (solved[:, block] / factor.diagonal()[block]).square()
    before, size = solved[:, : block.start].numel(), scores.numel()
    count = num_zeros(fraction, before + size) - num_zeros(fraction, before)
    return all_but_lowest(scores.reshape(1, -1), count).reshape(scores.shape)


def _prune_block(
    block: Float64[Tensor, "rows block"],
    keep: Bool[Tensor, "rows block"],
    factor: Float64[Tensor, "block block"],
    group: tuple[int, int] | None,
) -> Float64[Tensor, "rows block"]:
    """Prune and repair a block in place, and choose its mask in place if it is n:m.

    Returns:
        Removed weights over `U_jj`, from which the columns after the block are repaired.
    """
    errors = torch.empty_like(block)
    for j in range(block.shape[1]):
        if group is not None and j % group[1] == 0:
            run = slice(j, j + group[1])
            scores = (block[:, run] / factor.diagonal()[run]).square()
            keep[:, run] = all_but_lowest(scores, group[0])
        errors[:, j] = block[:, j].masked_fill(keep[:, j], 0.0) / factor[j, j]
        block[:, j + 1 :] -= errors[:, j, None] * factor[j, j + 1 :]
        block[:, j].masked_fill_(~keep[:, j], 0.0)
    return errors


def _check_request(
    weight: Tensor,
    hessian: Tensor,
    fraction: float | None,
    group: tuple[int, int] | None,
    block_size: int,
) -> None:
    columns = weight.shape[1]
    if (fraction is None) == (group is None):
        raise UsageError(
            f"fraction is {fraction} and group is {group}",
            "Give one of them: a fraction such as 0.5, or a group such as (2, 4).",
        )
    if group is not None:
        check_group(columns, *group)
    if block_size < 1:
        raise UsageError(f"block size {block_size} is not positive", "128 is usual.")
    if hessian.shape != (columns, columns):
        raise UsageError(
            f"the Hessian has shape {list(hessian.shape)}, the weight has {columns} columns",
            f"It must be X X^T of the layer's inputs, of shape [{columns}, {columns}].",
        )
    check_finite("Hessian", hessian)
    check_finite("weight", weight)
