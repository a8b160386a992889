"""What one pruning did: counts that were measured, beside what was predicted."""

from typing import Literal

import torch
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from sentinel_research.models.modes import eager_attention, evaluating
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.specs import Spec

_LONGEST_PROBE = 128


class PruneReport(Spec):
    """One pruning, for the run record."""

    plan: PruningPlan
    """Which heads stay, and why."""
    form: Literal["remove", "mask"]
    """Whether weights were sliced or outputs multiplied by zero."""
    removed_heads: list[str]
    """Labels of the heads that went."""
    num_heads_removed: int
    """How many they are."""
    num_heads_before: int
    """Query heads of the model before."""
    num_units_requested: int
    """Units (heads or KV groups) that the fraction asked for."""
    num_units_removed: int
    """Units that went."""
    num_units_short: int
    """Units that stayed because of `min_heads_per_layer`."""
    num_parameters_before: int
    """Parameters before, measured."""
    num_parameters_after: int
    """Parameters after, measured; it equals the prediction, or pruning fails."""
    num_parameters_removed_predicted: int
    """Parameters that the plan's head counts say must go; 0 for a mask."""
    flops_per_token_before: float
    """Forward floating-point operations per token before, at `flops_sequence_length`."""
    flops_per_token_after: float
    """The same afterwards."""
    flops_sequence_length: int
    """Tokens of the sequence that operations were counted on."""
    scoring_seconds: float = Field(ge=0)
    """Wall-clock time of scoring."""


def probe_length(model: PreTrainedModel) -> int:
    """Tokens of the sequence that operations are counted on: 128, or the context if shorter."""
    return min(_LONGEST_PROBE, model.config.max_position_embeddings)


@torch.no_grad()
def forward_flops_per_token(model: PreTrainedModel, sequence_length: int) -> float:
    """Floating-point operations of a forward pass per token, all logits included.

    Counted by torch on one sequence under eager attention, so that attention counts in full; fused
    kernels are partly unknown to the counter, and skip what the causal mask hides.

    Args:
        model: Any causal language model whose attention implementation can be switched.
        sequence_length: Tokens of the sequence.

    Returns:
        Operations per token; a multiply-add counts two.
    """
    ids = torch.zeros(1, sequence_length, dtype=torch.long, device=model.device)
    with evaluating(model), eager_attention(model), FlopCounterMode(display=False) as counter:
        model(ids, use_cache=False)
    return counter.get_total_flops() / sequence_length
