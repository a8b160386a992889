"""Training on HF Trainer: the one wiring that training from scratch and recovery share."""

from sentinel_research.training.adjust import (
    Adjustments,
    Factors,
    LossTerm,
    UpdateScaling,
    multiply,
)
from sentinel_research.training.agency import AgencyCallback, expected_l0
from sentinel_research.training.compiled import check_compiler
from sentinel_research.training.trainer import check_training, train

__all__ = [
    "Adjustments",
    "AgencyCallback",
    "Factors",
    "LossTerm",
    "UpdateScaling",
    "check_compiler",
    "check_training",
    "expected_l0",
    "multiply",
    "train",
]
