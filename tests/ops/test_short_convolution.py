"""The short convolution equals its sum over taps, sees no future, and goes on from a cache."""

import pytest
import torch
from torch import Tensor
from transformers.cache_utils import LinearAttentionLayer

from sentinel_research.ops.short_convolution import naive_short_convolution, short_convolution

# batch, seq, channels, taps: odd ones, single numbers, fewer positions than taps, a wide block
SHAPES = [(2, 7, 3, 4), (1, 1, 1, 1), (3, 2, 5, 4), (2, 63, 33, 3), (1, 65, 70, 2)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def _draw(shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    batch, seq, channels, taps = shape
    generator = torch.Generator().manual_seed(0)
    sizes = [(batch, seq, channels), (channels, 1, taps), (channels,)]
    drawn = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    return [one.to(dtype) for one in drawn]


@pytest.mark.parametrize("has_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # sums of at most five terms of about 1
    [(torch.float64, 1e-14), (torch.float32, 2e-6)],
    ids=["float64", "float32"],
)
@every_shape
def test_values_equal_the_sum_over_taps(
    shape: tuple[int, int, int, int], dtype: torch.dtype, tolerance: float, has_bias: bool
) -> None:
    inputs = _draw(shape, dtype)[: 3 if has_bias else 2]
    found = short_convolution(*inputs)
    assert found.dtype == dtype
    torch.testing.assert_close(found, naive_short_convolution(*inputs), rtol=0, atol=tolerance)


@every_shape
def test_gradients_equal_those_of_the_sum_over_taps(shape: tuple[int, int, int, int]) -> None:
    above = torch.randn(shape[:3], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = []
    for function in (short_convolution, naive_short_convolution):
        leaves = [one.requires_grad_() for one in _draw(shape)]
        gradients.append(torch.autograd.grad(function(*leaves), leaves, above))
    for found, expected in zip(*gradients, strict=True):
        # sums over up to 126 positions
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    leaves = [one.requires_grad_() for one in _draw((2, 5, 3, 4))]
    assert torch.autograd.gradcheck(short_convolution, leaves)


@pytest.mark.parametrize("position", [0, 1, 33, 62])
def test_outputs_before_a_changed_input_are_bit_equal(position: int) -> None:
    x, kernel, bias = _draw((2, 63, 33, 4), torch.float32)
    changed = x.clone()
    changed[:, position] += 1
    one, other = (short_convolution(given, kernel, bias) for given in (x, changed))
    assert torch.equal(one[:, :position], other[:, :position])
    assert (one != other)[:, position].all()


@pytest.mark.parametrize("records", [False, True], ids=["last inputs", "all inputs"])
@pytest.mark.parametrize(
    "cuts", [range(1, 17), [9, 10, 11], [1, 3, 8]], ids=["tokens", "prompt", "chunks"]
)
@pytest.mark.parametrize("taps", [1, 4, 5])
def test_parts_with_a_cache_equal_the_whole(taps: int, cuts: list[int], records: bool) -> None:
    x, kernel, bias = _draw((2, 17, 3, taps))
    past = LinearAttentionLayer()
    if records:
        past.activate_past_recording()
    parts = [
        short_convolution(x[:, start:stop], kernel, bias, past)
        for start, stop in zip([0, *cuts], [*cuts, 17], strict=True)
    ]
    expected = naive_short_convolution(x, kernel, bias)
    # sums of at most six terms of about 1
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=1e-14)


def test_inputs_of_any_layout_give_the_same_values() -> None:
    x, kernel, bias = _draw((2, 63, 33, 4), torch.float32)
    channels_first = x.transpose(1, 2).contiguous().transpose(1, 2)
    part_of_a_projection = torch.cat([x, x], -1).chunk(2, -1)[0]
    expected = short_convolution(x, kernel, bias)
    for given in (channels_first, part_of_a_projection):
        # another layout may take another kernel: sums of at most five terms of about 1
        torch.testing.assert_close(
            short_convolution(given, kernel, bias), expected, rtol=0, atol=2e-6
        )
