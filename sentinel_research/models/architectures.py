"""Architectures to train from scratch: a configuration and a tokenizer become an untrained model.

The vocabulary and the special tokens always come from the tokenizer. Everything else has the
family's default unless the recipe says otherwise. Weights are drawn from torch's global generator;
`build` seeds it and puts it back.
"""

import dataclasses
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
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
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.models.mamba import use_scan
from sentinel_research.models.sentinel import SentinelConfig, SentinelForCausalLM
from sentinel_research.registry import Plugin, architecture, get

_FROM_TOKENIZER = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")


def build(
    name: str, config: dict[str, Any], tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> PreTrainedModel:
    """An untrained model, the same for the same seed.

    Args:
        name: Registered architecture.
        config: Keyword arguments of its configuration class.
        tokenizer: Gives vocabulary and special tokens.
        seed: Of the initial weights; torch's global generators are left as they were.

    Returns:
        A float32 model on the CPU, in training mode.

    Raises:
        UsageError: if the name or a key is unknown, or the values do not fit together.
    """
    plugin = get("architectures", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = plugin(config, tokenizer)
    use_scan(model)
    return model.train()


def _built_by(
    config_class: type[PretrainedConfig],
    model_class: type[PreTrainedModel],
    *,
    name: str,
    summary: str,
    reference: str,
) -> Plugin:
    """Register an architecture whose recipe keys are those of a configuration class."""

    def untrained(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        return _untrained(config_class, model_class, config, tokenizer)

    # the registry knows built-in entries by where they are
    untrained.__name__ = name
    return architecture(name, summary=summary, reference=reference)(untrained)


gpt2 = _built_by(
    GPT2Config,
    GPT2LMHeadModel,
    name="gpt2",
    summary="decoder with learned positions, multi-head attention and GELU",
    reference="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
)
llama = _built_by(
    LlamaConfig,
    LlamaForCausalLM,
    name="llama",
    summary="decoder with rotary positions, grouped-query attention and SwiGLU",
    reference="Touvron et al. 2023, https://arxiv.org/abs/2302.13971",
)
opt = _built_by(
    OPTConfig,
    OPTForCausalLM,
    name="opt",
    summary="decoder with learned positions, pre- or post-norm, ReLU",
    reference="Zhang et al. 2022, https://arxiv.org/abs/2205.01068",
)
bloom = _built_by(
    BloomConfig,
    BloomForCausalLM,
    name="bloom",
    summary="decoder with ALiBi positions and GELU",
    reference="BigScience 2022, https://arxiv.org/abs/2211.05100",
)
gpt_neox = _built_by(
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    name="gpt_neox",
    summary="decoder with rotary positions and parallel residual",
    reference="Black et al. 2022, https://arxiv.org/abs/2204.06745",
)
mistral = _built_by(
    MistralConfig,
    MistralForCausalLM,
    name="mistral",
    summary="LLaMA with sliding-window attention",
    reference="Jiang et al. 2023, https://arxiv.org/abs/2310.06825",
)
qwen2 = _built_by(
    Qwen2Config,
    Qwen2ForCausalLM,
    name="qwen2",
    summary="LLaMA with biases on query, key and value",
    reference="Yang et al. 2024, https://arxiv.org/abs/2407.10671",
)
mamba = _built_by(
    MambaConfig,
    MambaForCausalLM,
    name="mamba",
    summary="selective state space model, linear in the length, no attention",
    reference="Gu and Dao 2023, https://arxiv.org/abs/2312.00752",
)
mamba2 = _built_by(
    Mamba2Config,
    Mamba2ForCausalLM,
    name="mamba2",
    summary="Mamba with one decay rate a head, as products of matrices by chunk",
    reference="Dao and Gu 2024, https://arxiv.org/abs/2405.21060",
)
sentinel = _built_by(
    SentinelConfig,
    SentinelForCausalLM,
    name="sentinel",
    summary="attention, the causal resolvent (ResNet-BK), or a list of them per layer (`mixers`)",
    reference="sentinel_research/models/sentinel, sentinel_research/ops/resolvent",
)


def _untrained(
    config_class: type[PretrainedConfig],
    model_class: type[PreTrainedModel],
    config: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedModel:
    aliases = config_class.attribute_map
    config = {aliases.get(key, key): value for key, value in config.items()}
    known = [field.name for field in dataclasses.fields(config_class)]
    for key in config:
        if key in _FROM_TOKENIZER:
            raise UsageError(f"`{key}` comes from the tokenizer", "Leave it out of the config.")
        if key not in known:
            raise UsageError(
                f"unknown {config_class.model_type} config key '{key}'", did_you_mean(key, known)
            )
    special = {key: getattr(tokenizer, key) for key in _FROM_TOKENIZER if key != "vocab_size"}
    try:
        full = config_class(**{**config, **special, "vocab_size": len(tokenizer)})
        model = model_class(full)
    except (StrictDataclassError, ValueError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{config_class.model_type} config does not work: {error}") from error
    return model.float()
