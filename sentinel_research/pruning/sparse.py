"""Which single weights of a linear layer go: scores, and the masks that are made of them.

`keep_largest` and `keep_n_of_m` turn scores into a mask; `wanda_scores` [1] is such a score. See
`sparsegpt` for a method that chooses a mask and repairs the weights that stay. Nothing here knows
of a model.

Glossary: `W` a weight, [rows = outputs, columns = inputs]; `X` the layer's calibration inputs,
[columns, tokens]; `n:m` means that of every `m` consecutive columns of a row exactly `num_zero` go
(2:4 is `num_zero=2, group=4`).

Reference: [1] Sun et al. 2023, Wanda, equation 1, https://arxiv.org/abs/2306.11695.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sentinel_research.errors import UsageError
from sentinel_research.pruning.select import num_units


def num_zeros(fraction: float, total: int) -> int:
    """Weights that go: `floor(fraction * total)` for the fraction as it was written.

    Args:
        fraction: Share of the weights to remove, in [0, 1].
        total: Number of weights.

    Raises:
        UsageError: if the fraction is outside [0, 1].

    Example:
        >>> num_zeros(0.29, 100)
        29
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction {fraction} is not in [0, 1]")
    return num_units(fraction, total)


def keep_largest(
    scores: Float[Tensor, "rows columns"], fraction: float, *, per: Literal["row", "matrix"]
) -> Bool[Tensor, "rows columns"]:
    """Keep the weights with the highest scores.

    Equal scores go by index, the lowest first; in a whole matrix the rows are read one after the
    other. A larger fraction therefore removes the weights of a smaller one and more.

    Args:
        scores: Importance of every weight; higher is more important.
        fraction: Share of the weights to remove, in [0, 1], rounded down to whole weights.
        per: Compare, and count the share, within every row or over the whole matrix.

    Returns:
        True where a weight stays.

    Raises:
        UsageError: if the fraction is outside [0, 1] or a score is not finite.

    Example:
        >>> keep_largest(torch.tensor([[3.0, 1.0], [4.0, 2.0]]), 0.5, per="row").tolist()
        [[True, False], [True, False]]
    """
    check_finite("score", scores)
    runs = scores if per == "row" else scores.reshape(1, -1)
    return all_but_lowest(runs, num_zeros(fraction, runs.shape[1])).reshape(scores.shape)


def keep_n_of_m(
    scores: Float[Tensor, "rows columns"], num_zero: int, group: int
) -> Bool[Tensor, "rows columns"]:
    """Keep all but the lowest scores of each run of consecutive columns.

    Args:
        scores: Importance of every weight; higher is more important. Ties go by index, the lowest
            first.
        num_zero: Weights to remove of each run, in [0, group].
        group: Columns of a run; divides the number of columns.

    Returns:
        True where a weight stays.

    Raises:
        UsageError: if the runs do not fit the columns, or a score is not finite.

    Example:
        >>> keep_n_of_m(torch.tensor([[3.0, 1.0, 4.0, 2.0]]), 2, 4).tolist()
        [[True, False, True, False]]
    """
    check_group(scores.shape[1], num_zero, group)
    check_finite("score", scores)
    # [rows, columns] -> [rows * runs, group]
    return all_but_lowest(scores.reshape(-1, group), num_zero).reshape(scores.shape)


def wanda_scores(
    weight: Float[Tensor, "rows columns"], squared_norm: Float64[Tensor, " columns"]
) -> Float64[Tensor, "rows columns"]:
    """Importance `|W_ij| * ||X_j||`: a weight's size times the size of what it multiplies.

    Wanda compares it within every row: `keep_largest(..., per="row")` or `keep_n_of_m`.

    Args:
        weight: The weight.
        squared_norm: Sum of the squares of every input over the calibration tokens, `diag(H)`.

    Returns:
        One score per weight.

    Example:
        >>> squared_norm = torch.tensor([1.0, 4.0], dtype=torch.float64)
        >>> wanda_scores(torch.tensor([[3.0, -2.0]]), squared_norm).tolist()
        [[3.0, 4.0]]
    """
    return weight.double().abs() * squared_norm.sqrt()


def all_but_lowest(scores: Float[Tensor, "runs size"], count: int) -> Bool[Tensor, "runs size"]:
    """False at the `count` lowest scores of every run, ties by index."""
    lowest = scores.argsort(dim=1, stable=True)[:, :count]
    return torch.ones_like(scores, dtype=torch.bool).scatter(1, lowest, False)


def check_group(columns: int, num_zero: int, group: int) -> None:
    """Refuse runs of columns that do not fit."""
    if group < 1 or not 0 <= num_zero <= group:
        raise UsageError(
            f"cannot remove {num_zero} of every {group} weights",
            "Give a group of at least 1 column and 0 to all of its weights, such as 2 of 4.",
        )
    if columns % group:
        raise UsageError(
            f"{columns} columns do not divide into groups of {group}",
            f"The layer's number of inputs must be a multiple of {group}.",
        )


def check_finite(name: str, values: Float[Tensor, "rows columns"]) -> None:
    """Refuse values that are not finite, by the place of the first."""
    if values.isfinite().all():
        return
    row, column = (~values.isfinite()).nonzero()[0].tolist()
    raise UsageError(
        f"{name} at row {row}, column {column} is {values[row, column].item()}",
        "The model's weights or the calibration inputs are not finite.",
    )
