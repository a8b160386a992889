"""Tiny seeded models for tests, examples and self-checks, with the byte tokenizer's vocabulary.

Every parameter is random, biases and layer norms too: with the usual zeros and ones a wrong slice
of a bias would change nothing.
"""

from typing import Any

import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from sentinel_research.data.byte_level import NUM_BYTES, VOCAB_SIZE, byte_tokenizer
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.models.mamba import use_scan
from sentinel_research.models.sentinel import SentinelConfig, SentinelForCausalLM

__all__ = ["FAMILIES", "NUM_BYTES", "VOCAB_SIZE", "byte_tokenizer", "tiny_model"]

_GROUPED = {
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_size": 40,
    "intermediate_size": 37,
    "max_position_embeddings": 64,
}
# odd sizes on purpose, and where the family allows it a hidden size that is not heads * head width
_DEFAULTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gpt2": (
        GPT2Config,
        GPT2LMHeadModel,
        {"n_layer": 3, "n_head": 5, "n_embd": 30, "n_inner": 37, "n_positions": 64},
    ),
    "opt": (
        OPTConfig,
        OPTForCausalLM,
        {
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "hidden_size": 30,
            "ffn_dim": 37,
            "word_embed_proj_dim": 23,
            "max_position_embeddings": 64,
        },
    ),
    "bloom": (BloomConfig, BloomForCausalLM, {"n_layer": 3, "n_head": 5, "hidden_size": 30}),
    "gpt_neox": (
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        {
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "hidden_size": 40,
            "intermediate_size": 37,
            "max_position_embeddings": 64,
        },
    ),
    "llama": (LlamaConfig, LlamaForCausalLM, {**_GROUPED, "head_dim": 6}),
    "mistral": (
        MistralConfig,
        MistralForCausalLM,
        {**_GROUPED, "head_dim": 6, "sliding_window": 5},
    ),
    "qwen2": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {**_GROUPED, "hidden_size": 48, "use_sliding_window": True, "sliding_window": 5,
         "max_window_layers": 2},
    ),
}  # fmt: skip

FAMILIES = tuple(_DEFAULTS)
"""Families with heads, which can be pruned."""

_RECURRENT: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "mamba": (MambaConfig, MambaForCausalLM, {"num_hidden_layers": 3, "hidden_size": 21,
        "state_size": 5, "time_step_rank": 3}),
    "mamba2": (Mamba2Config, Mamba2ForCausalLM, {"num_hidden_layers": 3, "hidden_size": 20,
        "state_size": 5, "num_heads": 8, "head_dim": 5, "n_groups": 2, "chunk_size": 8}),
    "sentinel": (SentinelConfig, SentinelForCausalLM, {"num_hidden_layers": 3, "hidden_size": 24,
        "num_attention_heads": 3, "intermediate_size": 37, "resolvent_size": 19,
        "mixers": ["resolvent", "attention", "resolvent"]}),
}  # fmt: skip
RECURRENT = tuple(_RECURRENT)
"""Families with states instead of heads, in some of their layers at least."""

# random values of any size would leave a memory of less than a token
_TIMESCALES = ("A_log", "dt_proj.bias", "dt_bias", "raw_width", "energy", "hop_bias")


def tiny_model(
    family: str, *, seed: int = 0, attn_implementation: str = "auto", **config: Any
) -> PreTrainedModel:
    """A random model with a few thousand parameters.

    Args:
        family: One of `FAMILIES` or `RECURRENT`.
        seed: Of all parameters; torch's global generators are left as they were.
        attn_implementation: `sdpa`, `eager`, or `auto` for the family's best.
        **config: Overrides of the configuration (transformers' names).

    Returns:
        A float32 model on the CPU in evaluation mode, whose vocabulary is `byte_tokenizer`'s.

    Raises:
        UsageError: if the family is unknown.

    Example:
        >>> tiny_model("llama", seed=1, num_key_value_heads=2).config.num_key_value_heads
        2
    """
    known = {**_DEFAULTS, **_RECURRENT}
    if family not in known:
        raise UsageError(f"no tiny model of family '{family}'", did_you_mean(family, known))
    tokens = {
        "vocab_size": VOCAB_SIZE,
        "bos_token_id": NUM_BYTES,
        "eos_token_id": NUM_BYTES + 1,
        "pad_token_id": NUM_BYTES + 2,
    }
    config_class, model_class, defaults = known[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = model_class(config_class(**{**tokens, **defaults, **config}))
    _perturb(model, seed)
    if attn_implementation != "auto":
        model.set_attn_implementation(attn_implementation)
    use_scan(model)
    return model.eval()


@torch.no_grad()
def _perturb(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith(_TIMESCALES):
            parameter.add_(0.1 * noise)
            continue
        is_norm = parameter.ndim == 1 and name.endswith("weight")
        # strong enough for attention that is far from uniform, so that every head matters
        parameter.copy_(1 + 0.3 * noise if is_norm else 0.3 * noise)
