"""Products with matrices whose entries are stored in 4, 8 or 16 bits, and what they are made of.

Each way to multiply has a plain twin: `dequantised` weights in torch's own float32 product.
"""

from sentinel_research.ops.low_bits.float16 import (
    HALF_LIMIT,
    has_float16_products,
    pack_float16,
    times_float16,
    unpack_float16,
)
from sentinel_research.ops.low_bits.int8_rows import (
    ACTIVATION_LEVELS,
    PackedInt8,
    has_int8_products,
    rounded_rows,
    times_int8,
)
from sentinel_research.ops.low_bits.nibbles import half_width, pack_nibbles, unpack_nibbles
from sentinel_research.ops.low_bits.widen import FEW_ROWS, dequantised, times_stored

__all__ = [
    "ACTIVATION_LEVELS",
    "FEW_ROWS",
    "HALF_LIMIT",
    "PackedInt8",
    "dequantised",
    "half_width",
    "has_float16_products",
    "has_int8_products",
    "pack_float16",
    "pack_nibbles",
    "rounded_rows",
    "times_float16",
    "times_int8",
    "times_stored",
    "unpack_float16",
    "unpack_nibbles",
]
