"""Models with removed parts as ordinary transformers classes: save, reload, generate, lm-eval.

The configuration stays that of the dense model (`num_attention_heads` and friends keep their
meaning) and adds the original indices of the kept heads and neurons, and the blocks that are gone,
for every layer, under transformers' `per_layer_config`. The constructor builds the dense model and
then swaps projections for smaller ones; only shapes change, so it works on the meta device, and
`from_pretrained` then loads the weights strictly.

How a saved folder finds these classes is in `derived.py`.

Reference: per-layer configuration, https://github.com/huggingface/transformers/pull/45333.
"""

import os
from pathlib import Path
from typing import Any

import transformers
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.attention import attention_name, register_ragged_attention
from sentinel_research.models.derived import auto_map, named, publish, write_remote
from sentinel_research.models.layout import per_layer_config, structure_of
from sentinel_research.models.shrink import shrink
from sentinel_research.structure import Structure

_NOT_CARRIED = (
    "model_type",
    "architectures",
    "auto_map",
    "transformers_version",
    "per_layer_config",
)


def _pruned_config_class(dense: Any, name: str, model_name: str) -> Any:
    """A configuration class of a pruned family: the dense one plus what is kept per layer."""

    class PrunedConfig(dense):
        """The dense configuration with the original indices of the kept parts per layer.

        Args:
            per_layer_config: `{"0": {"kept_heads": [0, 3], "kept_neurons": [1], "skip": []}, ...}`
                for every layer; without `kept_neurons` all are there.
            pruning: Where the choice came from: the pruning plan without its units.
            output_biases: True if output projections carry biases that the family lacks.
        """

        model_type = f"pruned_{dense.model_type}"
        pruning: dict[str, Any] | None = None
        output_biases: bool = False

        def __post_init__(self, **kwargs: Any) -> None:
            super().__post_init__(**kwargs)
            self.auto_map = auto_map(name, model_name)
            # transformers builds every configuration class once without arguments
            if self.is_heterogeneous:
                structure_of(self)

        def save_pretrained(
            self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any
        ) -> None:
            """Save as transformers does, with the module that `auto_map` points to.

            Saving a model saves its configuration so, before anything is pushed to a hub.
            """
            super().save_pretrained(save_directory, *args, **kwargs)
            write_remote(Path(save_directory))

        @classmethod
        def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
            """Do nothing: `auto_map` is fixed, transformers must not copy this module."""

    return named(PrunedConfig, name)


def _pruned_model_class(dense: Any, config: Any, name: str) -> Any:
    """A model class of a pruned family: the dense one, shrunk after it was built."""

    class PrunedForCausalLM(dense, GenerationMixin):
        """The dense model with some heads, neurons or blocks physically absent."""

        config_class = config

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            shrink(self)

        def get_correct_attn_implementation(
            self, requested_attention: str | None, is_init_check: bool = False
        ) -> str:
            """Dispatch unequal KV groups to the registered functions of `models.attention`."""
            found = super().get_correct_attn_implementation(requested_attention, is_init_check)
            return attention_name(found, is_ragged=_is_ragged(self.config))

        def _get_static_cache_init_shape(self) -> tuple[Any, Any] | None:
            """Key/value heads and their width, layer by layer, for a cache allocated beforehand."""
            shape: tuple[Any, Any] | None = super()._get_static_cache_init_shape()
            if shape is None or not self.config.is_heterogeneous:
                return shape
            structure = structure_of(self.config)
            heads = structure.num_units("kv_group")
            # a layer without heads counts positions by a placeholder, see `EmptyAttention`
            widths = [structure.head_dim if number else 1 for number in heads]
            return [number or 1 for number in heads], widths

        @classmethod
        def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
            """Do nothing, see the configuration class."""

    return named(PrunedForCausalLM, name)


def _is_ragged(config: PretrainedConfig) -> bool:
    if not config.is_heterogeneous:
        return False
    structure = structure_of(config)
    return any(structure.is_ragged(layer) for layer in range(structure.num_layers))


def _pair(dense_config: str, dense_model: str) -> tuple[Any, Any]:
    """Pruned classes under their names in this module, where `auto_map` looks for them."""
    names = f"Pruned{dense_config}", f"Pruned{dense_model}"
    config = _pruned_config_class(getattr(transformers, dense_config), *names)
    model = _pruned_model_class(getattr(transformers, dense_model), config, names[1])
    globals().update(zip(names, (config, model), strict=True))
    return config, model


PRUNED_CLASSES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel]]] = {
    "gpt2": _pair("GPT2Config", "GPT2LMHeadModel"),
    "opt": _pair("OPTConfig", "OPTForCausalLM"),
    "bloom": _pair("BloomConfig", "BloomForCausalLM"),
    "gpt_neox": _pair("GPTNeoXConfig", "GPTNeoXForCausalLM"),
    "llama": _pair("LlamaConfig", "LlamaForCausalLM"),
    "mistral": _pair("MistralConfig", "MistralForCausalLM"),
    "qwen2": _pair("Qwen2Config", "Qwen2ForCausalLM"),
}


def pruned_config(
    config: PretrainedConfig, structure: Structure, pruning: dict[str, Any]
) -> PretrainedConfig:
    """The configuration of a model with only the parts of `structure` left.

    Args:
        config: Of the dense or already pruned model.
        structure: What stays.
        pruning: Provenance, JSON types only.

    Returns:
        A configuration of the family's pruned class, or of the model's own class if that knows
        removed parts already, with the same attention implementation.
    """
    family = anatomy_of(config).family
    is_dense = config.model_type == family
    cls: Any = PRUNED_CLASSES[family][0] if is_dense else type(config)
    fields = {key: value for key, value in config.to_dict().items() if key not in _NOT_CARRIED}
    before = structure_of(config)
    fields["per_layer_config"] = per_layer_config(structure)
    fields["pruning"] = pruning
    fields["output_biases"] = bool(fields.get("output_biases")) or (
        structure.attention_output_bias != before.attention_output_bias
        or structure.ffn_output_bias != before.ffn_output_bias
    )
    new = cls.from_dict(fields)
    new.name_or_path = config.name_or_path
    new._attn_implementation = config._attn_implementation
    return new


register_ragged_attention()
for _config_class, _model_class in PRUNED_CLASSES.values():
    publish(__name__, _config_class, _model_class)
