"""Gated tiny models for several test modules."""

import functools

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import tiny_model
from sentinel_research.specs import AgencySpec, GateMode, StatePolicy

MODES: tuple[GateMode, ...] = ("static", "input", "hard_concrete")


def gated(family: str, gate: GateMode = "static", **options: object) -> PreTrainedModel:
    """A tiny model with gates at rest."""
    attention = "eager" if family == "bloom" else "sdpa"
    model = tiny_model(family, attn_implementation=attention)
    return add_agency(model, AgencySpec.model_validate({"gate": gate, **options}))


@torch.no_grad()
def disturb(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Random values for everything that agency has added, in place; heads differ strongly."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "head_gate" in name or name.startswith(("agency_skips", "agency_mixes")):
            # a hard concrete gate is 1 until its offset is about -0.6, and 0 below -5.4
            scale = 4.0 if "offset" in name else 0.3
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


@functools.cache
def disturbed(family: str, gate: GateMode = "static") -> PreTrainedModel:
    """A gated model whose gates are far from rest, with a policy; do not change it."""
    return disturb(gated(family, gate, policy=StatePolicy()))


def ids_of(model: PreTrainedModel, *shape: int, seed: int = 0) -> Tensor:
    """Random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocab_size, shape, generator=generator)
