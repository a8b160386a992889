"""Rounding to a grid: near, repeatable, each row by itself, and transparent to gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_research.quantisation import fake_quantise, grid_of
from sentinel_research.specs import QuantiseSpec

SPECS = st.builds(
    QuantiseSpec,
    bits=st.integers(2, 8),
    group_size=st.none() | st.integers(1, 9),
    symmetric=st.booleans(),
)


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    """Rows of very different sizes, of one sign, of zeros, and of few values that tie."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 13))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    weight = torch.randn(rows, columns, generator=generator)
    kind = draw(st.sampled_from(["plain", "positive", "coarse", "with zeros", "zero"]))
    if kind == "positive":
        weight = weight.abs()
    if kind == "coarse":
        weight = (weight * 4).round() / 4
    if kind == "with zeros":
        weight = weight * (torch.rand(rows, columns, generator=generator) < 0.5)
    if kind == "zero":
        weight = torch.zeros(rows, columns)
    return weight * 10.0 ** draw(st.integers(-25, 25))


def steps_of(weight: torch.Tensor, spec: QuantiseSpec) -> torch.Tensor:
    """The step of every weight."""
    size = spec.group_size or weight.shape[1]
    return grid_of(weight, spec).steps.repeat_interleave(size, 1)[:, : weight.shape[1]]


def naive(weight: torch.Tensor, spec: QuantiseSpec) -> torch.Tensor:
    """Equation 1 of Jacob et al., group by group in float64, with steps of full precision."""
    found = []
    for row in weight.double():
        parts = []
        for group in row.split(spec.group_size or len(row)):
            if spec.symmetric:
                highest = 2 ** (spec.bits - 1) - 1
                step = group.abs().max() / highest
                parts.append((group / step).round().clamp(-highest, highest) * step)
            else:
                highest = 2**spec.bits - 1
                low, high = group.min().clamp(max=0), group.max().clamp(min=0)
                step = (high - low) / highest
                zero = (-low / step).round()
                parts.append((((group / step).round() + zero).clamp(0, highest) - zero) * step)
        found.append(torch.cat(parts))
    return torch.stack(found)


@given(matrices(), SPECS)
def test_no_weight_moves_by_more_than_half_a_step(weight: torch.Tensor, spec: QuantiseSpec) -> None:
    error = (fake_quantise(weight, spec) - weight).double().abs()
    # the ends of a grid, see its module; and float32's own rounding of weights between two values
    beyond = 3 * 2.0 ** (2 * spec.bits - 23) + (not spec.symmetric) * 2.0 ** (spec.bits - 15)
    bound = (0.5 + beyond + 2.0 ** (spec.bits - 23)) * steps_of(weight, spec).double()
    assert bool((error <= bound).all())


@settings(max_examples=400)
@given(matrices(), SPECS)
def test_quantising_again_changes_no_bit(weight: torch.Tensor, spec: QuantiseSpec) -> None:
    once = fake_quantise(weight, spec)
    assert torch.equal(fake_quantise(once, spec), once)
    assert torch.equal(fake_quantise(once.double(), spec), once.double())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_ends_half_way_between_two_values_are_not_both_rounded_inwards(bits: int) -> None:
    # of a step 1: rounding to even makes both ends lower, and the range shorter
    weight = torch.tensor([[-0.5, 0.0, 2.0**bits - 1.5]])
    spec = QuantiseSpec(bits=bits, symmetric=False)
    once = fake_quantise(weight, spec)
    assert torch.equal(fake_quantise(once, spec), once)
    assert grid_of(once, spec).steps == grid_of(weight, spec).steps


@given(matrices(), SPECS)
def test_values_are_whole_numbers_of_steps_as_many_as_bits_allow(
    weight: torch.Tensor, spec: QuantiseSpec
) -> None:
    numbers = (fake_quantise(weight, spec) / steps_of(weight, spec)).double()
    assert torch.equal(numbers, numbers.round())
    num_values = 2**spec.bits - spec.symmetric
    assert all(row.max() - row.min() < num_values for row in numbers)


@given(matrices(), SPECS)
def test_zero_stays_exactly_zero(weight: torch.Tensor, spec: QuantiseSpec) -> None:
    weight[:, ::2] = 0
    assert not bool(fake_quantise(weight, spec)[:, ::2].any())


@given(matrices(), SPECS, st.integers(-20, 20))
def test_scaling_by_a_power_of_two_scales_the_result(
    weight: torch.Tensor, spec: QuantiseSpec, power: int
) -> None:
    factor = 2.0**power
    assert torch.equal(fake_quantise(weight * factor, spec), fake_quantise(weight, spec) * factor)


@given(matrices(), SPECS)
def test_sign_turns_with_the_weights_of_a_symmetric_grid(
    weight: torch.Tensor, spec: QuantiseSpec
) -> None:
    spec = spec.model_copy(update={"symmetric": True})
    assert torch.equal(fake_quantise(-weight, spec), -fake_quantise(weight, spec))


@given(matrices(), SPECS)
def test_rows_and_groups_do_not_see_each_other(weight: torch.Tensor, spec: QuantiseSpec) -> None:
    spec = spec.model_copy(update={"group_size": 3})
    whole = fake_quantise(weight, spec)
    for row in range(len(weight)):
        for start in range(0, weight.shape[1], 3):
            part = weight[row : row + 1, start : start + 3]
            alone = fake_quantise(part, spec)
            # the last group of a ragged width has fewer weights
            assert torch.equal(whole[row : row + 1, start : start + 3], alone)


def test_a_group_as_wide_as_the_row_is_the_row() -> None:
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    per_channel = fake_quantise(weight, QuantiseSpec(bits=3))
    for group_size in (7, 100):
        found = fake_quantise(weight, QuantiseSpec(bits=3, group_size=group_size))
        assert torch.equal(found, per_channel)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [None, 5])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_is_that_of_the_definition(
    bits: int, group_size: int | None, symmetric: bool
) -> None:
    spec = QuantiseSpec(bits=bits, group_size=group_size, symmetric=symmetric)
    weight = torch.randn(40, 13, generator=torch.Generator().manual_seed(bits))
    found, expected = fake_quantise(weight, spec).double(), naive(weight, spec)
    # steps have 24 - bits digits, some are a little narrower: a value is off by less than that
    near = (found - expected).abs() <= expected.abs() * 2.0**-13
    # and a weight half-way between two values may go to the other one
    assert near.double().mean() > 0.99
    assert bool(((found - expected).abs() <= 1.01 * steps_of(weight, spec)).all())


@pytest.mark.parametrize("symmetric", [True, False])
def test_more_bits_and_smaller_groups_are_nearer(symmetric: bool) -> None:
    weight = torch.randn(64, 48, generator=torch.Generator().manual_seed(0))

    def error(**changes: int) -> float:
        spec = QuantiseSpec(**{"bits": 4, "symmetric": symmetric, **changes})
        return float((fake_quantise(weight, spec) - weight).square().mean())

    errors = [error(bits=bits) for bits in range(2, 9)]
    assert errors == sorted(errors, reverse=True)
    assert error(group_size=8) < error(group_size=24) < error()


def test_an_asymmetric_grid_spends_its_values_where_the_weights_are() -> None:
    weight = torch.rand(8, 64, generator=torch.Generator().manual_seed(0))
    errors = [
        float((fake_quantise(weight, QuantiseSpec(bits=4, symmetric=one)) - weight).abs().mean())
        for one in (False, True)
    ]
    # fifteen steps between 0 and 1, or seven
    assert errors[0] < 0.6 * errors[1]


@given(matrices(), SPECS)
def test_gradient_goes_straight_through(weight: torch.Tensor, spec: QuantiseSpec) -> None:
    weight.requires_grad_()
    upstream = torch.arange(1.0, weight.numel() + 1).reshape(weight.shape)
    (gradient,) = torch.autograd.grad(fake_quantise(weight, spec), weight, upstream)
    assert torch.equal(gradient, upstream)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shorter_types_hold_what_they_have_nearest_to_the_grid(dtype: torch.dtype) -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    spec = QuantiseSpec(bits=4)
    found = fake_quantise(weight, spec)
    assert found.dtype == dtype
    assert torch.equal(found, fake_quantise(weight.float(), spec).to(dtype))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_that_is_not_finite_does_not_become_finite(bad: float, symmetric: bool) -> None:
    weight = torch.tensor([[1.0, bad], [1.0, 2.0]])
    found = fake_quantise(weight, QuantiseSpec(bits=4, symmetric=symmetric))
    assert not bool(torch.isfinite(found[0]).any())
    assert torch.equal(torch.isfinite(found[1]), torch.tensor([True, True]))
