"""Training on HF Trainer: the one wiring that training from scratch and recovery share."""

from sentinel_research.training.trainer import train

__all__ = ["train"]
