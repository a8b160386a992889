"""The models and sizes that are measured. Weights are random and seeded: times depend on shapes."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)

from sentinel_research.bench.schema_base import BenchModel, Size
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models import place
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.apply import plan_units
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.specs import PruneSpec

FRACTION = 0.5
_TOKENS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
_WIDTHS: dict[str, dict[str, Any]] = {
    "tiny": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 300},
    "3.4m": {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 50257},
    "16m": {"n_embd": 256, "n_layer": 4, "n_head": 8, "vocab_size": 50257},
    "124m": {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
    "355m": {"n_embd": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 50257},
}


@dataclass(frozen=True)
class Scale:
    """How much is measured at one size."""

    gpt2: dict[str, Any]
    """Configuration of the GPT-2."""
    llama: dict[str, Any]
    """Configuration of the LLaMA; key/value heads are added."""
    mamba: dict[str, Any]
    """Configuration of the Mamba."""
    mamba_length: int
    """Tokens that it reads."""
    resolvent_lengths: tuple[int, ...]
    """Positions that the resolvent runs over."""
    num_sequences: int
    """Calibration sequences."""
    sequence_length: int
    """Tokens of each."""
    batch_size: int
    """Sequences of a pass."""
    prefill_length: int
    """Tokens of the prompt."""
    decode_steps: int
    """Tokens decoded after it."""
    attention_lengths: tuple[int, ...]
    """Tokens of the sequences that a single attention block reads."""
    num_pairs: int
    """Rounds of every comparison, unless asked otherwise."""
    peer_limit_seconds: float
    """Time for each step of another package."""
    has_meaning: bool
    """False if times are too short to mean anything, so that none is checked."""


SCALES: dict[Size, Scale] = {
    "tiny": Scale(
        gpt2={"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64, "vocab_size": 300},
        llama={
            "num_hidden_layers": 2,
            "num_attention_heads": 12,
            "hidden_size": 48,
            "intermediate_size": 64,
            "vocab_size": 300,
        },
        mamba={"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 300},
        mamba_length=40,
        resolvent_lengths=(16, 32, 64),
        num_sequences=4,
        sequence_length=16,
        batch_size=2,
        prefill_length=24,
        decode_steps=3,
        attention_lengths=(8, 15),
        num_pairs=3,
        peer_limit_seconds=5.0,
        has_meaning=False,
    ),
    "124m": Scale(
        gpt2={"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024},
        llama={
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "hidden_size": 768,
            "intermediate_size": 2048,
            "vocab_size": 32000,
        },
        mamba={"num_hidden_layers": 4, "hidden_size": 256, "vocab_size": 1000},
        mamba_length=2048,
        resolvent_lengths=tuple(2**power for power in range(10, 17)),
        num_sequences=8,
        sequence_length=128,
        batch_size=4,
        prefill_length=256,
        decode_steps=8,
        attention_lengths=(64, 128, 256, 512),
        num_pairs=7,
        peer_limit_seconds=60.0,
        has_meaning=True,
    ),
}


def gpt2(size: Size, device: str) -> PreTrainedModel:
    """A random GPT-2 in evaluation mode.

    Raises:
        UsageError: if there is no such device.
    """
    return built(GPT2LMHeadModel, GPT2Config(**SCALES[size].gpt2, **_TOKENS), device)


def gpt2_of(width: str, device: str) -> PreTrainedModel:
    """A random GPT-2 in evaluation mode that reads 1,024 tokens.

    Args:
        width: One of `widths()`: its number of parameters, or `tiny`. All others have GPT-2's
            vocabulary.
        device: Where it stands.
    """
    return built(GPT2LMHeadModel, GPT2Config(**_WIDTHS[width], **_TOKENS), device)


def widths() -> tuple[str, ...]:
    """The sizes of `gpt2_of`."""
    return tuple(_WIDTHS)


def llama(size: Size, device: str, num_kv_heads: int) -> PreTrainedModel:
    """A random LLaMA in evaluation mode.

    Raises:
        UsageError: if there is no such device.
    """
    config = LlamaConfig(**SCALES[size].llama, **_TOKENS, num_key_value_heads=num_kv_heads)
    return built(LlamaForCausalLM, config, device)


def mamba(size: Size, **config: Any) -> PreTrainedModel:
    """A random Mamba on the CPU in evaluation mode, as transformers runs it."""
    return built(MambaForCausalLM, MambaConfig(**SCALES[size].mamba, **_TOKENS, **config), "cpu")


def built(model_class: Any, config: Any, device: str) -> PreTrainedModel:
    """A random model of a configuration, in evaluation mode, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = model_class(config)
    place(model, device)
    return model.eval()


def calibration_set(model: PreTrainedModel, size: Size) -> CalibrationSet:
    """Random tokens, as many as the size says."""
    scale = SCALES[size]
    shape = (scale.num_sequences, scale.sequence_length)
    generator = torch.Generator().manual_seed(0)
    return CalibrationSet.of(torch.randint(model.config.vocab_size, shape, generator=generator))


def half_of_the_heads(model: PreTrainedModel) -> PruningPlan:
    """A plan that removes half of the heads of every layer, the smaller ones."""
    return share_of_the_heads(model, FRACTION)


def share_of_the_heads(model: PreTrainedModel, fraction: float) -> PruningPlan:
    """A plan that removes a share of the heads of every layer, rounded down, the smaller ones."""
    return plan_units(model, PruneSpec(scorer="magnitude_l2", fraction=fraction)).plan


def describe(model: PreTrainedModel) -> BenchModel:
    """What the file says about a model."""
    structure = structure_of(model.config)
    return BenchModel(
        family=structure.family,
        num_layers=structure.num_layers,
        num_heads=structure.num_heads,
        num_kv_heads=structure.num_kv_heads,
        hidden_size=structure.hidden_size,
        num_parameters=model.num_parameters(),
        attn_implementation=model.config._attn_implementation,
    )
