"""Models with removed heads as ordinary transformers classes: save, reload, generate, lm-eval.

The configuration stays that of the dense model (`num_attention_heads` and friends keep their
meaning) and adds the original indices of the kept heads, for every layer, under transformers'
`per_layer_config`. The constructor builds the dense model and then swaps every attention
projection for a smaller one; only shapes change, so it works on the meta device, and
`from_pretrained` then loads the weights strictly.

Importing this module registers the classes with the auto classes, so a folder loads without any
trust flag. Without this import it loads with `trust_remote_code=True`: every saved folder holds
`sentinel_remote.py`, which does nothing but import this module.

Reference: per-layer configuration, https://github.com/huggingface/transformers/pull/45333.
"""

import os
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from sentinel_research.errors import CheckpointError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.attention import attention_name, register_ragged_attention
from sentinel_research.models.heads import heads_of
from sentinel_research.models.shrink import shrink

_REMOTE_FILE = "sentinel_remote.py"
_NOT_CARRIED = (
    "model_type",
    "architectures",
    "auto_map",
    "transformers_version",
    "per_layer_config",
)


def _auto_map(config: str, model: str) -> dict[str, str]:
    module = _REMOTE_FILE.removesuffix(".py")
    return {"AutoConfig": f"{module}.{config}", "AutoModelForCausalLM": f"{module}.{model}"}


def _write_remote_file(folder: str | os.PathLike[str]) -> None:
    names = ", ".join(cls.__name__ for pair in PRUNED_CLASSES.values() for cls in pair)
    path = Path(folder) / _REMOTE_FILE
    path.write_text(f"from sentinel_research.models.pruned import {names}  # noqa: F401\n")


def _check_kept(config: PretrainedConfig) -> None:
    """Refuse head indices that no model of this shape can have."""
    # transformers builds every configuration class once without arguments, as its defaults
    if not config.is_heterogeneous:
        return
    for layer, heads in enumerate(heads_of(config).kept):
        valid = range(config.num_attention_heads)
        if list(heads) != sorted(set(heads)) or not set(heads) <= set(valid):
            raise CheckpointError(
                f"configuration keeps heads {list(heads)} in layer {layer}",
                f"Head indices must be ascending, unique and below {config.num_attention_heads}.",
            )


def _is_ragged(config: PretrainedConfig) -> bool:
    heads = heads_of(config)
    return any(heads.is_ragged(layer) for layer in range(heads.num_layers))


class PrunedGPT2Config(GPT2Config):
    """GPT-2 with the original indices of the kept heads per layer.

    Args:
        per_layer_config: `{"0": {"kept_heads": [0, 3]}, ...}` for every layer.
        pruning: Where the heads came from: the pruning plan without the heads.
    """

    model_type = "pruned_gpt2"
    pruning: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.auto_map = _auto_map("PrunedGPT2Config", "PrunedGPT2LMHeadModel")
        _check_kept(self)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Do nothing: `auto_map` is fixed, transformers must not copy this module on saving."""


class PrunedLlamaConfig(LlamaConfig):
    """LLaMA with the original indices of the kept query heads per layer.

    Args:
        per_layer_config: `{"0": {"kept_heads": [0, 3]}, ...}` for every layer.
        pruning: Where the heads came from: the pruning plan without the heads.
    """

    model_type = "pruned_llama"
    pruning: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.auto_map = _auto_map("PrunedLlamaConfig", "PrunedLlamaForCausalLM")
        _check_kept(self)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Do nothing: `auto_map` is fixed, transformers must not copy this module on saving."""


class PrunedGPT2LMHeadModel(GPT2LMHeadModel):
    """GPT-2 with some heads physically absent."""

    config_class = PrunedGPT2Config

    def __init__(self, config: PrunedGPT2Config) -> None:
        super().__init__(config)
        shrink(self)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Save as transformers does, with the one-line module that `auto_map` points to."""
        super().save_pretrained(save_directory, *args, **kwargs)
        _write_remote_file(save_directory)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Do nothing, see the configuration class."""


class PrunedLlamaForCausalLM(LlamaForCausalLM):
    """LLaMA with some query heads, and the KV groups that lost all of them, physically absent."""

    config_class = PrunedLlamaConfig

    def __init__(self, config: PrunedLlamaConfig) -> None:
        super().__init__(config)
        shrink(self)

    def get_correct_attn_implementation(
        self, requested_attention: str | None, is_init_check: bool = False
    ) -> str:
        """Dispatch unequal KV groups to the registered functions of `models.attention`."""
        applicable = super().get_correct_attn_implementation(requested_attention, is_init_check)
        return attention_name(applicable, is_ragged=_is_ragged(self.config))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Save as transformers does, with the one-line module that `auto_map` points to."""
        super().save_pretrained(save_directory, *args, **kwargs)
        _write_remote_file(save_directory)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Do nothing, see the configuration class."""


PRUNED_CLASSES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel]]] = {
    "gpt2": (PrunedGPT2Config, PrunedGPT2LMHeadModel),
    "llama": (PrunedLlamaConfig, PrunedLlamaForCausalLM),
}


def pruned_config(
    config: PretrainedConfig, kept: tuple[tuple[int, ...], ...], pruning: dict[str, Any]
) -> PretrainedConfig:
    """The configuration of a model with only `kept` heads left.

    Args:
        config: Of the dense or already pruned model.
        kept: Original indices of the heads that stay, per layer.
        pruning: Provenance, JSON types only.

    Returns:
        A configuration of the family's pruned class, with the same attention implementation.
    """
    cls, _ = PRUNED_CLASSES[anatomy_of(config).family]
    fields = {key: value for key, value in config.to_dict().items() if key not in _NOT_CARRIED}
    fields["per_layer_config"] = {
        str(layer): {"kept_heads": list(heads)} for layer, heads in enumerate(kept)
    }
    fields["pruning"] = pruning
    new = cls.from_dict(fields)
    new.name_or_path = config.name_or_path
    new._attn_implementation = config._attn_implementation
    return new


register_ragged_attention()
for _config_class, _model_class in PRUNED_CLASSES.values():
    AutoConfig.register(_config_class.model_type, _config_class)
    AutoModelForCausalLM.register(_config_class, _model_class)
