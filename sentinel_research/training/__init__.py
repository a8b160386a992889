"""Training on HF Trainer: the one wiring that training from scratch and recovery share."""

from sentinel_research.training.agency import (
    AgencyCallback,
    expected_l0,
    measure_heads,
    update_heads,
)
from sentinel_research.training.trainer import train

__all__ = ["AgencyCallback", "expected_l0", "measure_heads", "train", "update_heads"]
