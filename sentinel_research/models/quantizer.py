"""How transformers loads and saves models whose projections are stored small.

Their configuration says so under `quantization_config`, with the method `sentinel`. Importing this
package makes the method known to `from_pretrained`, as it makes pruned families known.
"""

from typing import Any, Literal

from transformers import PretrainedConfig, PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from sentinel_research.models.stored_linear import Activations, stored_projections

METHOD = "sentinel"


@register_quantization_config(METHOD)
class StoredConfig(QuantizationConfigMixin):
    """What a stored model's configuration says about its projections.

    Args:
        bits: 4, 8 or 16 of a weight.
        group_size: Inputs of an output that share a step; null: all.
        activations: `float`, or `int8` where they are rounded too.
        **_kwargs: What transformers adds.
    """

    def __init__(
        self,
        bits: Literal[4, 8, 16],
        group_size: int | None = None,
        activations: Activations = "float",
        **_kwargs: Any,
    ) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]
        self.bits, self.group_size, self.activations = bits, group_size, activations
        if bits not in (4, 8, 16) or activations not in ("float", "int8"):
            raise ValueError(
                f"quantization_config says bits {bits!r} and activations {activations!r}; known "
                "are 4, 8 and 16, and 'float' and 'int8'"
            )


def is_stored(config: PretrainedConfig) -> bool:
    """Whether a configuration is of a model that `store_small` made, loaded or not."""
    stored = getattr(config, "quantization_config", None)
    said = stored.get("quant_method") if isinstance(stored, dict) else stored
    return said == METHOD or isinstance(stored, StoredConfig)


@register_quantizer(METHOD)
class StoredQuantizer(HfQuantizer):
    """Swaps the modules of a model that is being loaded, and packs them when they are filled."""

    def is_serializable(self) -> bool:
        """Saved as it is held."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Stored weights have no gradients."""
        return False

    def validate_environment(self, *_args: Any, **_kwargs: Any) -> None:
        """Refuse to round while loading: `store_small` does that, and says what it did.

        Raises:
            ValueError: for a checkpoint that is not stored so.
        """
        if not self.pre_quantized:
            raise ValueError(
                "this checkpoint is not stored in a few bits: load it plainly, and give it to "
                "sentinel_research.quantisation.store_small"
            )

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_kwargs: Any) -> None:
        from sentinel_research.quantisation.stored import prepare

        prepare(model, self.quantization_config)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_kwargs: Any) -> None:
        for module in stored_projections(model).values():
            module.pack()
        model.requires_grad_(False)


def attach_quantizer(model: PreTrainedModel, config: StoredConfig) -> None:
    """Mark a model as `from_pretrained` marks one that it loaded stored."""
    quantizer = StoredQuantizer(config, pre_quantized=True)
    model.config.quantization_config = config
    model.config._is_quantized = True
    settings: Any = model
    settings.hf_quantizer, settings.is_quantized = quantizer, True
    settings.quantization_method = METHOD
