"""Agency while training: what happens between two optimiser steps, and nowhere else.

A forward pass never moves a state. Every so many steps the callback reads a few training sequences
in evaluation mode with eager attention, measures the three statistics of `models.agency.statistics`
and hands them to the gates; all other steps run the model's own attention kernel. The sequences
follow from the number of the step, so an interrupted run goes on as an uninterrupted one.

The penalty of `hard_concrete` gates enters as its gradient, after clipping and before the optimiser
steps: it is a function of the gates alone, and counts once however batches are accumulated.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models.agency import gated_layers, spec_of
from sentinel_research.models.agency.consent import required_gates
from sentinel_research.pruning.head_statistics import update_heads
from sentinel_research.specs import AgencySpec


def expected_l0(model: PreTrainedModel) -> Tensor:
    """Expected number of open heads, differentiable, a scalar.

    Raises:
        UsageError: for a model without `hard_concrete` gates.
    """
    return torch.stack([place.gate.expected_open().sum() for place in required_gates(model)]).sum()


class AgencyCallback(TrainerCallback):
    """Moves the states of heads, and applies the penalty of `hard_concrete` gates.

    Args:
        spec: The model's agency.
        blocks: Training sequences [num_sequences, sequence_length], read in turn.
    """

    def __init__(self, spec: AgencySpec, blocks: np.ndarray) -> None:
        self._spec = spec
        self._blocks = blocks

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """Add the gradient of the penalty."""
        assert model is not None  # Trainer always hands it over
        if not self._spec.l0_penalty:
            return
        penalty = self._spec.l0_penalty * expected_l0(model)
        # a recovery may hold the gates
        if penalty.requires_grad:
            penalty.backward()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """Move the states, every so many steps."""
        assert model is not None
        policy = self._spec.policy
        if policy is None or state.global_step % policy.every:
            return
        first = (state.global_step // policy.every - 1) * policy.num_sequences
        rows = np.arange(first, first + policy.num_sequences) % len(self._blocks)
        ids = torch.from_numpy(self._blocks[rows].astype(np.int64))
        update_heads(model, CalibrationSet.of(ids))


def agency_callbacks(model: PreTrainedModel, blocks: np.ndarray) -> list[TrainerCallback]:
    """What Trainer needs for a model: a callback for one with gates, none for any other."""
    spec = spec_of(model.config)
    if spec is None or not gated_layers(model, model.config):
        return []
    return [AgencyCallback(spec, blocks)]
