"""Masks of single weights, and what the functions of sparsity refuse."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from hypothesis import example, given, strategies
from torch import Tensor

from sentinel_research.errors import UsageError
from sentinel_research.pruning.sparse import (
    keep_largest,
    keep_n_of_m,
    num_zeros,
    wanda_scores,
)
from sentinel_research.pruning.sparsegpt import sparsegpt
from tests.pruning.matrices import (
    GROUPS,
    IDENTITY,
    WEIGHT,
    correlated_layer,
    floor_of,
    fractions_,
    lowest,
    tied_scores,
)


# the product of binary floats is below 29
@example(0.29, 100)
@given(fractions_, strategies.integers(0, 500))
def test_number_of_zeros_is_the_floor_of_the_fraction_as_written(
    fraction: float, total: int
) -> None:
    assert num_zeros(fraction, total) == floor_of(fraction, total)


@given(tied_scores, fractions_)
def test_every_row_loses_exactly_the_floor_and_its_lowest_scores_by_index(
    scores: Tensor, fraction: float
) -> None:
    keep = keep_largest(scores, fraction, per="row")
    count = floor_of(fraction, scores.shape[1])
    for row, kept in zip(scores, keep, strict=True):
        assert set((~kept).nonzero().flatten().tolist()) == lowest(row, count)


@given(tied_scores, fractions_)
def test_a_matrix_loses_exactly_the_floor_and_its_lowest_scores_row_after_row(
    scores: Tensor, fraction: float
) -> None:
    keep = keep_largest(scores, fraction, per="matrix")
    count = floor_of(fraction, scores.numel())
    assert set((~keep).flatten().nonzero().flatten().tolist()) == lowest(scores.flatten(), count)


def test_ties_go_by_index_even_in_rows_too_long_for_an_unstable_sort() -> None:
    keep = keep_largest(torch.ones(2, 4097), 0.5, per="row")
    assert not keep[:, :2048].any()
    assert keep[:, 2048:].all()


@pytest.mark.parametrize("per", ["row", "matrix"])
@given(scores=tied_scores, fractions=strategies.tuples(fractions_, fractions_))
def test_a_larger_fraction_removes_what_a_smaller_one_does(
    per: Literal["row", "matrix"], scores: Tensor, fractions: tuple[float, float]
) -> None:
    less, more = (keep_largest(scores, fraction, per=per) for fraction in sorted(fractions))
    assert not (more & ~less).any()


@pytest.mark.parametrize(("num_zero", "group"), [*GROUPS, (1, 1)])
@given(data=strategies.data())
def test_each_run_of_columns_loses_exactly_its_lowest_scores_by_index(
    num_zero: int, group: int, data: strategies.DataObject
) -> None:
    rows, runs = data.draw(strategies.tuples(strategies.integers(1, 5), strategies.integers(1, 4)))
    size = rows * runs * group
    values = data.draw(strategies.lists(strategies.integers(-2, 2), min_size=size, max_size=size))
    scores = torch.tensor(values, dtype=torch.float64).reshape(rows, runs * group)
    keep = keep_n_of_m(scores, num_zero, group)
    assert keep.shape == scores.shape
    for row, kept in zip(scores, keep, strict=True):
        for start in range(0, len(row), group):
            gone = (~kept[start : start + group]).nonzero().flatten().tolist()
            assert set(gone) == lowest(row[start : start + group], num_zero)


@pytest.mark.parametrize("per", ["row", "matrix"])
def test_masks_of_a_transposed_matrix_do_not_depend_on_its_layout(
    per: Literal["row", "matrix"],
) -> None:
    scores = correlated_layer(12, 8).weight.T
    packed = scores.contiguous()
    assert torch.equal(keep_largest(scores, 0.3, per=per), keep_largest(packed, 0.3, per=per))
    assert torch.equal(keep_n_of_m(scores, 2, 4), keep_n_of_m(packed, 2, 4))


def test_wanda_is_the_weights_size_times_the_norm_of_its_input() -> None:
    layer = correlated_layer(3, 5)
    scores = wanda_scores(layer.weight.float(), layer.hessian.diagonal())
    assert scores.dtype == torch.float64
    for i in range(3):
        for j in range(5):
            expected = abs(float(layer.weight[i, j].float())) * float(layer.inputs[j].norm())
            assert float(scores[i, j]) == pytest.approx(expected, rel=1e-12)


@given(tied_scores, fractions_, strategies.sampled_from([0.25, 1.0, 9.0]))
def test_wanda_with_inputs_of_one_norm_is_magnitude_per_row(
    weight: Tensor, fraction: float, squared_norm: float
) -> None:
    norms = torch.full((weight.shape[1],), squared_norm, dtype=torch.float64)
    keep = keep_largest(wanda_scores(weight, norms), fraction, per="row")
    assert torch.equal(keep, keep_largest(weight.abs(), fraction, per="row"))


BROKEN = IDENTITY.clone()
BROKEN[2, 5] = torch.nan
REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "fraction": (lambda: num_zeros(1.5, 4), r"fraction 1.5 is not in \[0, 1\]"),
    "scores": (lambda: keep_largest(BROKEN, 0.5, per="row"), "score at row 2, column 5 is nan"),
    "scores-n-of-m": (lambda: keep_n_of_m(BROKEN, 2, 4), "score at row 2, column 5 is nan"),
    "width": (lambda: keep_n_of_m(WEIGHT, 1, 3), r"8 columns .* of 3\n.* must be a multiple of 3"),
    "n-above-m": (lambda: keep_n_of_m(WEIGHT, 5, 4), "cannot remove 5 of every 4"),
    "n-below-0": (lambda: keep_n_of_m(WEIGHT, -1, 4), "cannot remove -1 of every 4"),
    "no-group": (lambda: keep_n_of_m(WEIGHT, 0, 0), "cannot remove 0 of every 0"),
    "neither": (
        lambda: sparsegpt(WEIGHT, IDENTITY, None),
        r"fraction is None and group is None\n.*0.5, or a group such as \(2, 4\)",
    ),
    "both": (
        lambda: sparsegpt(WEIGHT, IDENTITY, 0.5, group=(2, 4)),
        r"fraction is 0.5 and group is \(2, 4\)",
    ),
    "sparsegpt-fraction": (lambda: sparsegpt(WEIGHT, IDENTITY, -0.1), "fraction -0.1 is not in"),
    "sparsegpt-width": (
        lambda: sparsegpt(WEIGHT, IDENTITY, None, group=(1, 3)),
        "8 columns do not divide into groups of 3",
    ),
    "block-size": (lambda: sparsegpt(WEIGHT, IDENTITY, 0.5, block_size=0), "block size 0 is not"),
    "hessian": (lambda: sparsegpt(WEIGHT, BROKEN, 0.5), "Hessian at row 2, column 5 is nan"),
    "weight": (lambda: sparsegpt(BROKEN, IDENTITY, 0.5), "weight at row 2, column 5 is nan"),
    "shape": (
        lambda: sparsegpt(WEIGHT, IDENTITY[:, :7], 0.5),
        r"shape \[8, 7\], the weight has 8 columns\n.*\[8, 8\]",
    ),
    "singular": (
        lambda: sparsegpt(WEIGHT, torch.ones_like(IDENTITY), 0.5, damping=0.0),
        "not positive definite with damping 0.0\n.*raise the damping",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_says_what_was_wrong_and_what_is_accepted(case: str) -> None:
    call, message = REFUSALS[case]
    with pytest.raises(UsageError, match=message):
        call()
