"""Float32 activations times weights held in float16, summed in float32, by FBGEMM.

Processors without bfloat16 or float16 arithmetic emulate products of those types, several times
slower than float32. FBGEMM widens float16 inside its kernel: half the bytes, no slower product.

Reference: Khudia et al. 2021, FBGEMM, https://arxiv.org/abs/2101.05615.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sentinel_research.ops.low_bits.engine import fbgemm, has_fbgemm

HALF_LIMIT = float(torch.finfo(torch.float16).max)
"""Largest weight that float16 holds."""


def has_float16_products() -> bool:
    """Whether this torch has them."""
    return has_fbgemm()


def pack_float16(weight: Float[Tensor, "outputs inputs"]) -> Any:
    """Weights in the layout of the kernel.

    Args:
        weight: `[O, I]`, none beyond `HALF_LIMIT`; rounded to float16.
    """
    with fbgemm():
        return torch.ops.quantized.linear_prepack_fp16(weight.float().contiguous(), None)


def unpack_float16(packed: Any) -> Float[Tensor, "outputs inputs"]:
    """The weights in float16."""
    with fbgemm():
        return torch.ops.quantized.linear_unpack_fp16(packed)[0].half()


def times_float16(x: Float[Tensor, "rows inputs"], packed: Any) -> Float[Tensor, "rows outputs"]:
    """`x` times the transposed weights, in float32."""
    found: Tensor = torch.ops.quantized.linear_dynamic_fp16(x.float(), packed)
    return found
