"""FBGEMM's operators inside torch: whether they are there, and packing for them.

torch says that its tensors of quantised types will go. They are what these operators are packed
from, and nothing else here has such a type; the day they are gone `has_fbgemm` says so.
"""

import contextlib
import warnings
from collections.abc import Iterator

import torch

_ENGINE = "fbgemm"


def has_fbgemm() -> bool:
    """Whether this torch was built with FBGEMM, which needs an x86 processor with AVX2."""
    return _ENGINE in torch.backends.quantized.supported_engines


@contextlib.contextmanager
def fbgemm() -> Iterator[None]:
    """Pack and unpack for FBGEMM inside the block, whichever engine torch prefers."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = _ENGINE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="torch.quantize_per_tensor, torch.quantize_per_channel"
            )
            yield
    finally:
        torch.backends.quantized.engine = before
