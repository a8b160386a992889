"""What calibrated scorers read: token sequences, which positions are text, and which count."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sentinel_research.errors import UsageError


@dataclass(frozen=True)
class CalibrationSet:
    """Token sequences of one padded length. Padding comes after the text and never counts."""

    ids: Int[Tensor, "num seq"]
    """Token ids; any valid id at padding."""
    is_text: Bool[Tensor, "num seq"]
    """True where there is a token, False at padding."""
    is_target: Bool[Tensor, "num seq"]
    """True for tokens whose prediction is part of the loss; never at position 0 or at padding."""

    @classmethod
    def of(cls, ids: Int[Tensor, "num seq"]) -> "CalibrationSet":
        """Sequences without padding in which every token but the first is a target.

        Raises:
            UsageError: if the shape or type is not that of token ids.
        """
        if ids.ndim != 2 or ids.is_floating_point():
            raise UsageError(
                f"calibration sequences have shape {list(ids.shape)} and type {ids.dtype}",
                "They must be integer token ids of shape [sequences, tokens].",
            )
        is_text = torch.ones_like(ids, dtype=torch.bool)
        is_target = is_text.clone()
        is_target[:, :1] = False
        return cls(ids, is_text, is_target)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.ids)

    def select(self, rows: slice) -> "CalibrationSet":
        """Some of the sequences."""
        return CalibrationSet(self.ids[rows], self.is_text[rows], self.is_target[rows])

    def to(self, device: torch.device) -> "CalibrationSet":
        """The same sequences on another device."""
        return CalibrationSet(
            self.ids.to(device), self.is_text.to(device), self.is_target.to(device)
        )
