"""A tiny model to train and blocks whose content a model can learn within a few steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel

from sentinel_research.data.byte_level import VOCAB_SIZE, byte_tokenizer
from sentinel_research.models import build
from sentinel_research.specs import TrainSpec

LENGTH = 16
NUM_BLOCKS = 21
DROPOUT = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": LENGTH, **NO_DROPOUT},
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    },
    "sentinel": {
        "mixers": ["resolvent", "attention"],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    },
}
MakeModel = Callable[..., PreTrainedModel]
MakeSpec = Callable[..., TrainSpec]


def blocks_of(num: int, seed: int = 0) -> np.ndarray:
    """Rows that count upwards from a random byte, `[num, LENGTH]`."""
    starts = np.random.default_rng(seed).integers(0, 200, size=(num, 1))
    return (starts + np.arange(LENGTH)) % VOCAB_SIZE


def make_model(architecture: str = "gpt2", seed: int = 0, **config: Any) -> PreTrainedModel:
    """An untrained model of a few thousand parameters; `mamba` is transformers' own class."""
    if architecture == "mamba":
        torch.manual_seed(seed)
        small = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "time_step_rank": 2}
        return MambaForCausalLM(MambaConfig(vocab_size=VOCAB_SIZE, **small, **config))
    return build(architecture, {**CONFIGS[architecture], **config}, byte_tokenizer(), seed=seed)


def make_spec(**changes: Any) -> TrainSpec:
    """Ten steps of four blocks, so that the second pass over 21 blocks begins at step six."""
    given = {"corpus": "synthetic", "num_steps": 10, "batch_size": 4, "sequence_length": LENGTH}
    return TrainSpec.model_validate({**given, "learning_rate": 0.01, **changes})


@pytest.fixture
def blocks() -> np.ndarray:
    """Blocks to train on, one more than whole batches."""
    return blocks_of(NUM_BLOCKS)


@pytest.fixture
def validation() -> np.ndarray:
    """Blocks to validate on, not whole batches."""
    return blocks_of(6, seed=1)


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether all are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
