"""SparseGPT against a slow form that inverts a Hessian every column.

Matrices are random but fixed by a seed; calibration inputs are correlated, as a model's are.
"""

import pytest
import torch
from hypothesis import given, strategies
from torch import Tensor

from sentinel_research.pruning.sparse import (
    keep_largest,
    keep_n_of_m,
)
from sentinel_research.pruning.sparsegpt import sparsegpt
from tests.pruning.matrices import (
    GROUPS,
    IDENTITY,
    WEIGHT,
    Layer,
    correlated_layer,
    floor_of,
    fractions_,
    lowest,
    tied_scores,
)

BLOCK_SIZES = [1, 7, 128]


def _slow_sparsegpt(
    layer: Layer,
    fraction: float | None,
    group: tuple[int, int] | None,
    block_size: int,
    damping: float,
) -> tuple[Tensor, Tensor]:
    """Equation 3 one weight at a time, with an explicit inverse for every column."""
    weight, hessian = layer.weight.clone(), layer.hessian.clone()
    rows, columns = weight.shape
    for j in range(columns):
        if hessian[j, j] == 0:
            weight[:, j] = 0.0
            hessian[j, j] = 1.0
    damped = hessian + damping * hessian.trace() / columns * torch.eye(columns)
    inverses = [torch.linalg.inv(damped[j:, j:]) for j in range(columns)]
    keep = torch.ones(rows, columns, dtype=torch.bool)
    for j in range(columns):
        if fraction is not None and j % block_size == 0:
            end = min(j + block_size, columns)
            costs = [weight[:, c] ** 2 / inverses[c][0, 0] for c in range(j, end)]
            count = floor_of(fraction, rows * end) - floor_of(fraction, rows * j)
            for index in lowest(torch.stack(costs, dim=1).flatten(), count):
                keep[index // (end - j), j + index % (end - j)] = False
        if group is not None and j % group[1] == 0:
            for row in range(rows):
                members = range(j, j + group[1])
                costs = [weight[row, c] ** 2 / inverses[c][0, 0] for c in members]
                for index in lowest(torch.stack(costs), group[0]):
                    keep[row, j + index] = False
        for row in range(rows):
            if not keep[row, j]:
                inverse = inverses[j]
                weight[row, j:] -= weight[row, j].clone() / inverse[0, 0] * inverse[0]
                weight[row, j] = 0.0
    is_dead = layer.hessian.diagonal() == 0
    return torch.where(keep & is_dead, layer.weight, weight), keep


def _error(layer: Layer, pruned: Tensor) -> float:
    return float(((layer.weight.double() - pruned.double()) @ layer.inputs).square().sum())


@pytest.mark.parametrize("tokens", [200, 5], ids=["full-rank", "rank-deficient"])
@pytest.mark.parametrize("damping", [0.01, 0.5])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_sparsegpt_is_the_slow_form_for_a_fraction(
    block_size: int, damping: float, tokens: int
) -> None:
    layer = correlated_layer(5, 23, tokens=tokens, dead=(0, 9))
    found = sparsegpt(layer.weight, layer.hessian, 0.37, block_size=block_size, damping=damping)
    weight, keep = _slow_sparsegpt(layer, 0.37, None, block_size, damping)
    assert torch.equal(found.keep, keep)
    # float64, condition number of the damped Hessian below 1e4
    torch.testing.assert_close(found.weight, weight, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_sparsegpt_is_the_slow_form_for_n_of_m(block_size: int, group: tuple[int, int]) -> None:
    layer = correlated_layer(5, 24, dead=(2, 11))
    found = sparsegpt(layer.weight, layer.hessian, None, group=group, block_size=block_size)
    weight, keep = _slow_sparsegpt(layer, None, group, block_size, 0.01)
    assert torch.equal(found.keep, keep)
    # as above
    torch.testing.assert_close(found.weight, weight, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("first", [0, 2, 5])
@pytest.mark.parametrize("count", [1, 3])
def test_columns_after_removed_ones_become_the_least_squares_solution(
    first: int, count: int
) -> None:
    layer = correlated_layer(4, 10)
    gone = slice(first, first + count)
    # so small that exactly these columns go
    layer.weight[:, gone] *= 1e-6
    found = sparsegpt(layer.weight, layer.hessian, count / 10, damping=0.0)
    assert not found.keep[:, gone].any()
    assert torch.equal(found.weight[:, :first], layer.weight[:, :first])
    wanted = layer.weight[:, first:] @ layer.inputs[first:]
    after = layer.inputs[gone.stop :]
    solution = torch.linalg.lstsq(after.T, wanted.T).solution.T
    # relative to the change, which is as small as the removed weights
    change = found.weight[:, gone.stop :] - layer.weight[:, gone.stop :]
    expected = solution - layer.weight[:, gone.stop :]
    torch.testing.assert_close(change * 1e6, expected * 1e6, rtol=1e-6, atol=1e-6)


@given(
    weight=tied_scores, fraction=fractions_, block_size=strategies.sampled_from([1, 2, 3, 5, 128])
)
def test_sparsegpt_with_an_identity_hessian_is_magnitude_per_block(
    weight: Tensor, fraction: float, block_size: int
) -> None:
    rows, columns = weight.shape
    hessian = torch.eye(columns, dtype=torch.float64)
    found = sparsegpt(weight, hessian, fraction, block_size=block_size)
    assert torch.equal(found.weight, weight.where(found.keep, 0.0))
    for start in range(0, columns, block_size):
        stop = min(start + block_size, columns)
        count = floor_of(fraction, rows * stop) - floor_of(fraction, rows * start)
        gone = (~found.keep[:, start:stop]).flatten().nonzero().flatten().tolist()
        assert set(gone) == lowest(weight[:, start:stop].abs().flatten(), count)


@given(tied_scores, fractions_)
def test_sparsegpt_with_an_identity_hessian_and_one_block_is_magnitude_of_the_matrix(
    weight: Tensor, fraction: float
) -> None:
    hessian = torch.eye(weight.shape[1], dtype=torch.float64)
    found = sparsegpt(weight, hessian, fraction)
    assert torch.equal(found.keep, keep_largest(weight.abs(), fraction, per="matrix"))


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_sparsegpt_with_an_identity_hessian_is_magnitude_of_n_of_m(group: tuple[int, int]) -> None:
    weight = torch.randint(-3, 4, (7, 24), generator=torch.Generator().manual_seed(0)).float()
    found = sparsegpt(weight, torch.eye(24, dtype=torch.float64), None, group=group)
    assert torch.equal(found.keep, keep_n_of_m(weight.abs(), *group))
    assert torch.equal(found.weight, weight.where(found.keep, 0.0))


@given(
    shape=strategies.tuples(strategies.integers(1, 6), strategies.integers(1, 20)),
    fraction=fractions_,
    block_size=strategies.integers(1, 21),
)
def test_sparsegpt_removes_exactly_the_floor_of_the_matrix_spread_over_its_blocks(
    shape: tuple[int, int], fraction: float, block_size: int
) -> None:
    layer = correlated_layer(*shape)
    found = sparsegpt(layer.weight, layer.hessian, fraction, block_size=block_size)
    gone = ~found.keep
    assert int(gone.sum()) == floor_of(fraction, layer.weight.numel())
    assert not found.weight[gone].any()
    for block in gone.split(block_size, dim=1):
        assert abs(int(block.sum()) - fraction * block.numel()) < 1


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_sparsegpt_removes_exactly_n_of_every_m(group: tuple[int, int]) -> None:
    layer = correlated_layer(7, 24)
    found = sparsegpt(layer.weight, layer.hessian, None, group=group)
    # [rows, columns] -> [rows, runs, m]
    gone = ~found.keep.unflatten(1, (-1, group[1]))
    assert (gone.sum(dim=2) == group[0]).all()
    assert not found.weight[~found.keep].any()


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_block_size_does_not_change_n_of_m(group: tuple[int, int]) -> None:
    layer = correlated_layer(7, 48)
    whole, *others = (
        sparsegpt(layer.weight, layer.hessian, None, group=group, block_size=size)
        for size in (128, 1, 7, 32)
    )
    for other in others:
        assert torch.equal(other.keep, whole.keep)
        # sums in another order
        torch.testing.assert_close(other.weight, whole.weight, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_sparsegpt_leaves_less_error_than_magnitude(fraction: float, seed: int) -> None:
    layer = correlated_layer(31, 63, seed=seed)
    found = sparsegpt(layer.weight, layer.hessian, fraction, block_size=16)
    keep = keep_largest(layer.weight.abs(), fraction, per="matrix")
    assert found.squared_error <= _error(layer, layer.weight.where(keep, 0.0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group", [(2, 4), (4, 8)], ids=str)
def test_sparsegpt_leaves_less_error_than_magnitude_of_n_of_m(
    group: tuple[int, int], seed: int
) -> None:
    layer = correlated_layer(31, 64, seed=seed)
    found = sparsegpt(layer.weight, layer.hessian, None, group=group)
    keep = keep_n_of_m(layer.weight.abs(), *group)
    assert found.squared_error <= _error(layer, layer.weight.where(keep, 0.0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_sparsegpt_returns_the_weights_type_and_the_error_of_what_it_returns(
    dtype: torch.dtype,
) -> None:
    layer = correlated_layer(7, 23)
    layer = layer._replace(weight=layer.weight.to(dtype))
    found = sparsegpt(layer.weight, layer.hessian, 0.5, block_size=7)
    assert found.weight.dtype == dtype
    assert not found.weight[~found.keep].any()
    assert found.squared_error == pytest.approx(_error(layer, found.weight), rel=1e-10)


def test_fraction_of_nothing_changes_no_bit() -> None:
    layer = correlated_layer(4, 10, dead=(0, 3, 9))
    found = sparsegpt(layer.weight, layer.hessian, 0.0)
    assert found.keep.all()
    assert torch.equal(found.weight, layer.weight)
    assert found.squared_error == 0.0


def test_weights_of_dead_inputs_cost_nothing_and_stay_until_their_turn() -> None:
    layer = correlated_layer(4, 10, dead=(0, 3, 9))
    found = sparsegpt(layer.weight, layer.hessian, 0.1)
    assert int((~found.keep).sum()) == 4
    assert not (~found.keep)[:, [1, 2, 4, 5, 6, 7, 8]].any()
    assert torch.equal(found.weight, layer.weight.masked_fill(~found.keep, 0.0))
    assert found.squared_error == 0.0


def test_weights_of_dead_inputs_go_first() -> None:
    layer = correlated_layer(4, 10, dead=(0, 3, 9))
    found = sparsegpt(layer.weight, layer.hessian, 0.3)
    assert (~found.keep).any(dim=0).nonzero().flatten().tolist() == [0, 3, 9]


def test_inputs_that_are_all_dead_lose_the_first_weights() -> None:
    found = sparsegpt(WEIGHT, torch.zeros_like(IDENTITY), 0.5)
    assert int(found.keep.sum()) == 8
    assert torch.equal(found.weight, WEIGHT.masked_fill(~found.keep, 0.0))


def test_sparsegpt_changes_neither_its_arguments_nor_their_gradients() -> None:
    layer = correlated_layer(4, 10, dead=(3,))
    weight, hessian = torch.nn.Parameter(layer.weight.clone()), layer.hessian.clone()
    found = sparsegpt(weight, hessian, 0.5, block_size=3)
    assert torch.equal(weight, layer.weight)
    assert torch.equal(hessian, layer.hessian)
    assert weight.grad is None
    assert not found.weight.requires_grad


def test_a_transposed_weight_is_pruned_like_its_copy() -> None:
    layer = correlated_layer(10, 8)
    hessian = correlated_layer(1, 10).hessian
    transposed = sparsegpt(layer.weight.T, hessian, 0.5, block_size=3)
    copied = sparsegpt(layer.weight.T.contiguous(), hessian, 0.5, block_size=3)
    assert torch.equal(transposed.keep, copied.keep)
    # products of another memory layout
    torch.testing.assert_close(transposed.weight, copied.weight, rtol=1e-12, atol=1e-12)
