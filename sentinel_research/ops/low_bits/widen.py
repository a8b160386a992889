"""Products of float activations with weights of 8 or 4 bits: exact weights, nothing else rounded.

On the CPU a few rows go through kernels that read the stored bits. Many rows, and other devices,
widen a part of the weights at a time and leave the product to torch.

Glossary: `T` rows, `O` outputs, `I` inputs, `G` groups of inputs with a step of their own.
"""

import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from sentinel_research.ops.low_bits.kernel import eight_bits, four_bits
from sentinel_research.ops.low_bits.nibbles import half_width, unpack_nibbles
from sentinel_research.ops.threads import share

FEW_ROWS = 16
"""Most rows that the kernels take; from about 20 on widening was faster on an AMD EPYC 7003."""
_WIDENED_AT_A_TIME = 1 << 22


def dequantised(
    stored: Integer[Tensor, "outputs width"],
    steps: Float32[Tensor, "outputs groups"],
    num_inputs: int,
    group_size: int,
) -> Float32[Tensor, "outputs inputs"]:
    """The weights that stored numbers stand for.

    Args:
        stored: int8 `[O, I]`, or uint8 as `pack_nibbles` makes it.
        steps: `[O, G]`.
        num_inputs: `I`.
        group_size: Inputs that share a step.
    """
    numbers = stored
    if stored.dtype == torch.uint8:
        numbers = unpack_nibbles(stored, num_inputs, group_size)
    if steps.shape[1] == 1:
        return numbers * steps
    return numbers * steps.repeat_interleave(group_size, dim=1)[:, :num_inputs]


def times_stored(
    x: Float[Tensor, "rows inputs"],
    stored: Integer[Tensor, "outputs width"],
    steps: Float32[Tensor, "outputs groups"],
    group_size: int,
) -> Float[Tensor, "rows outputs"]:
    """`x` times the transposed weights.

    Args:
        x: `[T, I]`, any float type; sums are in it, on the CPU's kernels in float32.
        stored: As for `dequantised`.
        steps: As for `dequantised`.
        group_size: As for `dequantised`.

    Returns:
        `[T, O]` in the type of `x`.
    """
    if x.device.type == "cpu" and len(x) <= FEW_ROWS:
        return _few_rows(x, stored, steps, group_size)
    num_outputs, num_inputs = len(stored), x.shape[1]
    if stored.dtype == torch.int8 and stored.numel() <= _WIDENED_AT_A_TIME:
        # whole numbers up to 127 are exact in every float type
        product = torch.mm(x, stored.to(x.dtype).T)
        return product.mul_(steps[:, 0].to(x.dtype))
    y = x.new_empty(len(x), num_outputs)
    at_a_time = max(1, _WIDENED_AT_A_TIME // num_inputs)
    for start in range(0, num_outputs, at_a_time):
        part = slice(start, start + at_a_time)
        weights = dequantised(stored[part], steps[part], num_inputs, group_size)
        y[:, part] = torch.mm(x, weights.to(x.dtype).T)
    return y


def _few_rows(x: Tensor, stored: Tensor, steps: Tensor, group_size: int) -> Tensor:
    rows = x.detach().float().contiguous()
    y = torch.empty(len(x), len(stored))
    num_inputs = x.shape[1]
    work = len(stored), len(x) * len(stored) * num_inputs
    arrays = [tensor.numpy() for tensor in (rows, stored, steps, y)]
    if stored.dtype == torch.uint8:
        size = min(group_size, num_inputs)
        share(four_bits, *work, *arrays, half_width(num_inputs, group_size), size)
    else:
        share(eight_bits, *work, *arrays)
    return y.to(x.dtype)
