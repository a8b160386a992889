"""Small `sentinel` models with every mixer, for several test modules."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentinel_research.models.sentinel import SentinelConfig, SentinelForCausalLM

VOCAB_SIZE = 61
MIXERS: dict[str, Any] = {
    "attention": "attention",
    "resolvent": "resolvent",
    "agency": "agency",
    "hybrid": ["resolvent", "attention", "resolvent"],
    "hybrid-attention-first": ["attention", "resolvent", "agency"],
}
EVERY = pytest.mark.parametrize("mixers", MIXERS.values(), ids=MIXERS)
_RECURRENT = {name: one for name, one in MIXERS.items() if "resolvent" in one}
RECURRENT = pytest.mark.parametrize("mixers", _RECURRENT.values(), ids=_RECURRENT)


def sentinel_config(mixers: Any = "resolvent", **changes: Any) -> SentinelConfig:
    """Odd sizes; three layers."""
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 24,
        "intermediate_size": 37,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "resolvent_size": 19,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return SentinelConfig(mixers=mixers, **{**sizes, **changes})


def sentinel_model(
    mixers: Any = "resolvent", *, seed: int = 0, **changes: Any
) -> SentinelForCausalLM:
    """Random, with weights large enough for every part to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SentinelForCausalLM(sentinel_config(mixers, **changes))
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.15)
    return model.eval()


def random_tokens(batch: int = 2, length: int = 17, seed: int = 0) -> Tensor:
    """Without the special ones: 0 is padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB_SIZE, (batch, length), generator=generator)


def logits_of(model: nn.Module, tokens: Tensor, **kwargs: Any) -> Tensor:
    """Without gradients."""
    with torch.no_grad():
        logits: Tensor = model(tokens, **kwargs).logits
    return logits


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equal up to rounding."""
    # float32 through three blocks, whose rounding a resonance of up to 200 positions multiplies
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-4 * expected.abs().max().item())
