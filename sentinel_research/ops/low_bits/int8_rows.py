"""Products of 8-bit weights with activations that are rounded row by row, in whole numbers.

Every row of activations (a token) has a grid of its own, from its least to its largest entry:

    x[t, i] ~ low[t] + step[t] n[t, i],   n in 0..127
    y[t, o] = step[t] steps[o] sum_i n[t, i] numbers[o, i] + low[t] sums[o] + bias[o]

torch's own dynamic quantisation takes one grid for all rows of a batch. Then a token's logits
depend on the tokens after it and on the other texts of the batch; here they depend on neither.
Activations have 7 bits and not 8: without VNNI instructions the kernel adds two products in 16
bits, which 255 * 127 twice overflows. With 7 bits every processor computes the same sums.

Glossary: `T` rows, `O` outputs, `I` inputs. References: [1] Khudia et al. 2021, FBGEMM, section 3,
https://arxiv.org/abs/2101.05615. [2] Yao et al. 2022, ZeroQuant, section 4.1 (token-wise grids),
https://arxiv.org/abs/2206.01861.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor

from sentinel_research.ops.low_bits.engine import fbgemm, has_fbgemm
from sentinel_research.ops.low_bits.kernel import from_grids, on_grids
from sentinel_research.ops.threads import share

ACTIVATION_LEVELS = 127
"""Steps between the least and the largest entry of a row."""
# the step of rows of one value, whose numbers are all 0
_SMALLEST_STEP = np.float32(2.0**-100)


def has_int8_products() -> bool:
    """Whether this torch has them."""
    return has_fbgemm()


class _Rows(NamedTuple):
    numbers: Tensor
    """`[T, I]`, not rounded yet."""
    steps: Tensor
    """`[T, 1]`."""
    low: Tensor
    """`[T, 1]`."""


def _on_grids(x: Float32[Tensor, "rows inputs"]) -> _Rows:
    # a row that is not finite gets a step that is not, and so do all of its outputs
    rows = x.detach().contiguous()
    found = _Rows(torch.empty_like(rows), rows.new_empty(len(x), 1), rows.new_empty(len(x), 1))
    arrays = [tensor.numpy() for tensor in (rows, *found)]
    share(on_grids, len(x), x.numel(), *arrays, np.float32(ACTIVATION_LEVELS), _SMALLEST_STEP)
    return found


def rounded_rows(x: Float32[Tensor, "rows inputs"]) -> Float32[Tensor, "rows inputs"]:
    """The activations that the product takes: each row on its grid, half-way to the even number.

    Example:
        >>> import torch
        >>> rounded_rows(torch.tensor([[0.0, 0.4, 126.6, 127.0]])).tolist()
        [[0.0, 0.0, 127.0, 127.0]]
    """
    low, high = x.aminmax(dim=-1, keepdim=True)
    steps = ((high - low) / ACTIVATION_LEVELS).clamp(min=float(_SMALLEST_STEP))
    return ((x - low) * (1 / steps)).round_() * steps + low


class PackedInt8:
    """A matrix of 8-bit weights in the layout of FBGEMM's kernel.

    Args:
        numbers: `[O, I]`, from -127 to 127.
        steps: `[O, 1]`.
    """

    def __init__(
        self, numbers: Int8[Tensor, "outputs inputs"], steps: Float32[Tensor, "outputs 1"]
    ) -> None:
        self.steps = steps
        """As given."""
        totals = numbers.sum(dim=1, dtype=torch.int32)
        self.sums = totals * steps[:, 0]
        """Of every output's weights, `[O]`."""
        zeros = torch.zeros(len(numbers), dtype=torch.int64)
        with fbgemm():
            whole = torch._make_per_channel_quantized_tensor(
                numbers.contiguous(), steps[:, 0].double(), zeros, 0
            )
            self._matrix: Any = torch.ops.quantized.linear_prepack(whole, None)

    def numbers(self) -> Int8[Tensor, "outputs inputs"]:
        """The numbers in their own order."""
        with fbgemm():
            return torch.ops.quantized.linear_unpack(self._matrix)[0].int_repr()

    def times(self, numbers: Float32[Tensor, "rows inputs"]) -> Float32[Tensor, "rows outputs"]:
        """Rows of whole numbers from 0 to 127, rounded here, times the transposed weights."""
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        found: Tensor = product(numbers, 1.0, 0, self._matrix)
        return found


def times_int8(
    x: Float[Tensor, "rows inputs"],
    packed: PackedInt8,
    bias: Float[Tensor, " outputs"] | None,
) -> Float32[Tensor, "rows outputs"]:
    """Rounded rows times the transposed weights, plus the bias, in float32."""
    numbers, steps, low = _on_grids(x.float())
    found = packed.times(numbers)
    added = torch.zeros_like(packed.sums) if bias is None else bias.detach().float()
    arrays = [tensor.numpy() for tensor in (found, steps, low, packed.sums, added)]
    share(from_grids, len(x), found.numel(), *arrays)
    return found
