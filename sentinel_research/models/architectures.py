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
from sentinel_research.registry import architecture, get

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


@architecture(
    "gpt2",
    summary="decoder with learned positions, multi-head attention and GELU",
    reference="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
)
def gpt2(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """GPT-2, untrained.

    Args:
        config: Keyword arguments of transformers' GPT2Config, for example `n_layer`, `n_head`,
            `n_embd`, `n_positions`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(GPT2Config, GPT2LMHeadModel, config, tokenizer)


@architecture(
    "llama",
    summary="decoder with rotary positions, grouped-query attention and SwiGLU",
    reference="Touvron et al. 2023, https://arxiv.org/abs/2302.13971",
)
def llama(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """LLaMA, untrained.

    Args:
        config: Keyword arguments of transformers' LlamaConfig, for example `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(LlamaConfig, LlamaForCausalLM, config, tokenizer)


@architecture(
    "opt",
    summary="decoder with learned positions, pre- or post-norm, ReLU",
    reference="Zhang et al. 2022, https://arxiv.org/abs/2205.01068",
)
def opt(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """OPT, untrained.

    Args:
        config: Keyword arguments of transformers' OPTConfig, for example `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `ffn_dim`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(OPTConfig, OPTForCausalLM, config, tokenizer)


@architecture(
    "bloom",
    summary="decoder with ALiBi positions and GELU",
    reference="BigScience 2022, https://arxiv.org/abs/2211.05100",
)
def bloom(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """BLOOM, untrained.

    Args:
        config: Keyword arguments of transformers' BloomConfig, for example `hidden_size`,
            `n_layer`, `n_head`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(BloomConfig, BloomForCausalLM, config, tokenizer)


@architecture(
    "gpt_neox",
    summary="decoder with rotary positions and parallel residual",
    reference="Black et al. 2022, https://arxiv.org/abs/2204.06745",
)
def gpt_neox(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """GPT-NeoX (Pythia), untrained.

    Args:
        config: Keyword arguments of transformers' GPTNeoXConfig, for example `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `intermediate_size`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(GPTNeoXConfig, GPTNeoXForCausalLM, config, tokenizer)


@architecture(
    "mistral",
    summary="LLaMA with sliding-window attention",
    reference="Jiang et al. 2023, https://arxiv.org/abs/2310.06825",
)
def mistral(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Mistral, untrained.

    Args:
        config: Keyword arguments of transformers' MistralConfig, for example `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`, `sliding_window`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(MistralConfig, MistralForCausalLM, config, tokenizer)


@architecture(
    "qwen2",
    summary="LLaMA with biases on query, key and value",
    reference="Yang et al. 2024, https://arxiv.org/abs/2407.10671",
)
def qwen2(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Qwen2, untrained.

    Args:
        config: Keyword arguments of transformers' Qwen2Config, for example `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(Qwen2Config, Qwen2ForCausalLM, config, tokenizer)


@architecture(
    "mamba",
    summary="selective state space model, linear in the length, no attention",
    reference="Gu and Dao 2023, https://arxiv.org/abs/2312.00752",
)
def mamba(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Mamba, untrained, with transformers' own initialisation.

    Args:
        config: Keyword arguments of transformers' MambaConfig, for example `hidden_size`,
            `num_hidden_layers`, `state_size`, `conv_kernel`, `expand`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(MambaConfig, MambaForCausalLM, config, tokenizer)


@architecture(
    "mamba2",
    summary="Mamba with one decay rate a head, as products of matrices by chunk",
    reference="Dao and Gu 2024, https://arxiv.org/abs/2405.21060",
)
def mamba2(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Mamba2, untrained, with transformers' own initialisation.

    Args:
        config: Keyword arguments of transformers' Mamba2Config, for example `hidden_size`,
            `num_hidden_layers`, `num_heads`, `head_dim`, `state_size`, `chunk_size`;
            `num_heads * head_dim` must be `expand * hidden_size`.
        tokenizer: Gives vocabulary and special tokens.

    Raises:
        UsageError: if a key is unknown or the values do not fit together.
    """
    return _untrained(Mamba2Config, Mamba2ForCausalLM, config, tokenizer)


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
