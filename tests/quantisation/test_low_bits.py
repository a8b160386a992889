"""Numbers of few bits: how they are packed, and the products with them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_research.ops.low_bits import (
    FEW_ROWS,
    PackedInt8,
    dequantised,
    half_width,
    pack_float16,
    pack_nibbles,
    rounded_rows,
    times_float16,
    times_int8,
    times_stored,
    unpack_float16,
    unpack_nibbles,
)

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 140), st.sampled_from([1, 2, 7, 32, 64]))


def _numbers(shape: tuple[int, int], low: int, high: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator, dtype=torch.int8)


@given(SIZES)
@settings(max_examples=40, deadline=None)
def test_packed_nibbles_come_back_in_half_the_bytes(sizes: tuple[int, int, int]) -> None:
    outputs, inputs, group = sizes
    numbers = _numbers((outputs, inputs), -8, 7)
    packed = pack_nibbles(numbers, group)
    groups = -(-inputs // min(group, inputs))
    assert packed.shape == (outputs, groups * half_width(inputs, group))
    assert torch.equal(unpack_nibbles(packed, inputs, group), numbers)


@given(SIZES, st.sampled_from([1, FEW_ROWS, FEW_ROWS + 1]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_product_is_that_of_the_weights_in_float(
    sizes: tuple[int, int, int], rows: int, is_packed: bool
) -> None:
    outputs, inputs, group = sizes
    generator = torch.Generator().manual_seed(1)
    group = group if is_packed else inputs
    groups = -(-inputs // min(group, inputs))
    steps = torch.rand(outputs, groups, generator=generator)
    numbers = _numbers((outputs, inputs), -7, 7)
    stored = pack_nibbles(numbers, group) if is_packed else numbers
    x = torch.randn(rows, inputs, generator=generator)
    weights = numbers.double() * steps.double().repeat_interleave(min(group, inputs), 1)[:, :inputs]
    found = times_stored(x, stored, steps, group)
    # 140 products of at most 4 * 7 in float32
    torch.testing.assert_close(found.double(), x.double() @ weights.T, rtol=1e-5, atol=2e-4)
    exact = dequantised(stored, steps, inputs, group).double()
    torch.testing.assert_close(exact, weights, rtol=1e-7, atol=0)


def test_whole_numbers_add_up_without_overflow() -> None:
    # all activations and weights as large as they get: 255 steps would overflow 16 bits
    numbers = torch.full((16, 64), 127, dtype=torch.int8)
    packed = PackedInt8(numbers, torch.ones(16, 1))
    assert packed.times(torch.full((3, 64), 127.0)).eq(64 * 127 * 127).all()
    assert torch.equal(packed.numbers(), numbers)


@pytest.mark.parametrize("rows", [1, 7, 33])
def test_rounded_rows_times_weights(rows: int) -> None:
    numbers, steps = _numbers((11, 63), -127, 127), torch.rand(11, 1) + 0.1
    x, bias = torch.randn(rows, 63) * 3, torch.randn(11)
    packed = PackedInt8(numbers, steps)
    expected = rounded_rows(x).double() @ (numbers * steps).double().T + bias
    torch.testing.assert_close(times_int8(x, packed, bias).double(), expected, rtol=1e-5, atol=1e-2)
    without = times_int8(x, packed, None).double()
    torch.testing.assert_close(without, expected - bias, rtol=1e-5, atol=1e-2)


@given(st.integers(1, 40), st.floats(-1e3, 1e3, width=32), st.floats(2**-10, 1e3, width=32))
@settings(max_examples=40, deadline=None)
def test_rounding_moves_an_activation_by_half_a_step_at_most(
    inputs: int, middle: float, spread: float
) -> None:
    x = torch.randn(3, inputs, generator=torch.Generator().manual_seed(inputs)) * spread + middle
    step = (x.amax(1, keepdim=True) - x.amin(1, keepdim=True)) / 127
    error = (rounded_rows(x) - x).abs()
    # and float32's own error where the middle is far from zero
    assert (error <= step * 0.501 + 1e-6 * x.abs().amax()).all()


def test_row_of_one_value_stays_that_value() -> None:
    x = torch.tensor([[0.3, 0.3, 0.3], [0.0, 0.0, 0.0]])
    assert torch.equal(rounded_rows(x), x)


def test_float16_weights_are_rounded_once_and_multiplied_in_float32() -> None:
    weight = torch.randn(13, 63, generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, 63, generator=torch.Generator().manual_seed(1))
    packed = pack_float16(weight)
    assert torch.equal(unpack_float16(packed), weight.half())
    torch.testing.assert_close(
        times_float16(x, packed), x @ weight.half().float().T, rtol=1e-5, atol=1e-5
    )
