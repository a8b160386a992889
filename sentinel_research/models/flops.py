"""Floating-point operations, counted by torch from the operators that run.

Attention runs eagerly, so that it counts in full: fused kernels are partly unknown to the counter,
and skip what the causal mask hides. Products of matrices, convolutions and operators that
registered a formula are counted, elementwise operations are not.
"""

import copy
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from transformers import PreTrainedModel

from sentinel_research.models.modes import eager_attention, evaluating
from sentinel_research.models.stored_linear import StoredLinear, stored_projections


class TrainingFlops(NamedTuple):
    """Operations on one sequence; a multiply-add counts two."""

    forward: int
    """Of the forward pass, all logits included."""
    backward: int
    """Of the backward pass, and of what it computes again under gradient checkpointing."""
    sequence_length: int
    """Tokens of the sequence."""

    @property
    def per_token(self) -> float:
        """Forward and backward operations, per token."""
        return (self.forward + self.backward) / self.sequence_length


def training_flops(model: PreTrainedModel, sequence_length: int) -> TrainingFlops:
    """Count a forward and a backward pass over one sequence.

    Args:
        model: Any causal language model; a copy of it is run, so that neither gradients nor
            buffers nor random numbers change.
        sequence_length: Tokens of the sequence, at least 2.

    Returns:
        Operations; those of a batch are proportional to its sequences.
    """
    twin = copy.deepcopy(model).train()
    ids = torch.zeros(1, sequence_length, dtype=torch.long, device=model.device)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), eager_attention(twin):
        with _counter() as forward:
            loss = twin(input_ids=ids, labels=ids, use_cache=False).loss
        with _counter() as backward:
            loss.backward()
    return TrainingFlops(forward.get_total_flops(), backward.get_total_flops(), sequence_length)


@torch.no_grad()
def forward_flops(model: PreTrainedModel, ids: Tensor, **options: Any) -> int:
    """Count one forward pass.

    Args:
        model: Any causal language model whose attention implementation can be switched.
        ids: Token ids, [batch, seq].
        **options: For the pass, such as a cache, which it changes.

    Returns:
        Operations; a multiply-add counts two.
    """
    counted: list[int] = []
    with ExitStack() as stack:
        for projection in stored_projections(model).values():
            handle = projection.register_forward_hook(partial(_count_stored, counted))
            stack.callback(handle.remove)
        stack.enter_context(evaluating(model))
        stack.enter_context(eager_attention(model))
        counter = stack.enter_context(_counter())
        model(ids, **options)
    return counter.get_total_flops() + sum(counted)


def _count_stored(
    counted: list[int], module: StoredLinear, args: tuple[Tensor], _output: Tensor
) -> None:
    """A product of weights that are held in few bits, of which torch's counter knows nothing."""
    counted.append(2 * args[0].numel() * module.out_features)


def _counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False)
    # the copy that it took lacks what registers when it first runs, such as Mamba's scan
    counter.flop_registry = flop_registry
    return counter
