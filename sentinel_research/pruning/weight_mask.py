"""Which weights of a matrix are set to zero, as pure data: one bit a weight."""

import base64
import binascii
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Bool
from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs import Spec


class WeightMask(Spec):
    """The kept weights of one matrix, as it is stored."""

    shape: tuple[int, int]
    """Shape of the parameter, as stored (transformers' Conv1D keeps [in, out])."""
    num_zero: int = Field(ge=0)
    """Weights that are set to zero."""
    bits: str
    """Base64 of the rows of the matrix, one bit per weight, 1 if it stays, padded to a byte."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            kept = self.keep()
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"mask of shape {list(self.shape)} cannot be read: {error}") from error
        found = kept.size - int(kept.sum())
        if found != self.num_zero:
            raise ValueError(f"mask says {self.num_zero} zeros, and holds {found}")
        return self

    @classmethod
    def of(cls, keep: Bool[np.ndarray, "rows columns"]) -> "WeightMask":
        """Pack a mask: True where the weight stays."""
        packed = base64.b64encode(np.packbits(keep, axis=None).tobytes()).decode()
        return cls(shape=keep.shape, num_zero=int(keep.size - keep.sum()), bits=packed)

    def keep(self) -> Bool[np.ndarray, "rows columns"]:
        """True where the weight stays."""
        size = self.shape[0] * self.shape[1]
        packed = np.frombuffer(base64.b64decode(self.bits, validate=True), dtype=np.uint8)
        if len(packed) != -(-size // 8):
            raise ValueError(f"{len(packed)} bytes for {size} weights")
        return np.unpackbits(packed, count=size).astype(bool).reshape(self.shape)

    def summary(self) -> dict[str, Any]:
        """Shape, number of zeros and a digest, for places where the mask itself is too long."""
        digest = hashlib.sha256(self.bits.encode()).hexdigest()[:16]
        return {"shape": list(self.shape), "num_zero": self.num_zero, "sha256": digest}
