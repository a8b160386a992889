"""Where attention heads live in each model family, as a table.

One `Anatomy` row says everything that the rest of the package needs to score, mask and remove
the attention heads of a family: the path of the decoder layers, the names of the projections,
how query, key and value are laid out in them, and which attributes follow the number of heads.
A new family is one row here, one pair of classes in `pruned.py`, and its tests.

Glossary: a head is (layer, query head), printed `L3H7`. A KV group is a key/value head with the
query heads that read it; in multi-head attention every head is its own group. `E` is the hidden
size, `D` the width of a head. "Original" indices are those of the dense model that a model was
pruned from; "local" indices count the heads that are still there.

Reference: [1] Ainslie et al. 2023, GQA, https://arxiv.org/abs/2305.13245.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from sentinel_research.errors import UsageError

Part = Literal["query", "key", "value"]


@dataclass(frozen=True)
class Projection:
    """One input projection of an attention module."""

    name: str
    """Attribute of the attention module."""
    parts: tuple[Part, ...]
    """Blocks along the output, in order; inside a block heads follow each other."""


@dataclass(frozen=True)
class Anatomy:
    """How one model family lays out its attention."""

    family: str
    """transformers' `model_type` of the dense model."""
    layers: str
    """Path of the list of decoder layers."""
    attention: str
    """Attention module inside a decoder layer."""
    inputs: tuple[Projection, ...]
    """Projections from the hidden state."""
    output: str
    """Projection from the concatenated heads back to the hidden state."""
    weight: Literal["linear", "conv1d"]
    """`linear`: weights are [out, in] (nn.Linear); `conv1d`: [in, out] (transformers' Conv1D)."""
    num_kv_heads_key: str | None
    """Configuration key of the number of key/value heads; None for multi-head attention."""
    head_dim_key: str | None
    """Configuration key of the head width; None if it is hidden size / heads."""
    bias_key: str | None
    """Configuration key that says whether the projections have biases; None if they always do."""
    width_attributes: tuple[str, ...] = ()
    """Attributes of the attention module that equal heads * head width."""
    count_attributes: tuple[str, ...] = ()
    """Attributes of the attention module that equal the number of query heads."""
    group_attribute: str | None = None
    """Attribute that equals query heads per key/value head."""
    dropout_key: str | None = None
    """Configuration key of the dropout that follows the output projection."""
    unsupported: tuple[str, ...] = ()
    """Configuration flags that must be off, because nothing here handles them."""

    @property
    def input_axis(self) -> int:
        """Axis of an input projection's weight that runs over heads."""
        return 0 if self.weight == "linear" else 1

    @property
    def output_axis(self) -> int:
        """Axis of the output projection's weight that runs over heads."""
        return 1 - self.input_axis

    def layer_path(self, layer: int) -> str:
        """Module path of the attention of one layer, as in state-dict keys."""
        return f"{self.layers}.{layer}.{self.attention}"

    def attentions(self, model: PreTrainedModel) -> list[nn.Module]:
        """The attention modules of a model, in layer order."""
        blocks = model.get_submodule(self.layers)
        return [block.get_submodule(self.attention) for block in blocks.children()]

    def output_projections(self, model: PreTrainedModel) -> list[nn.Module]:
        """The output projections of a model, in layer order."""
        return [module.get_submodule(self.output) for module in self.attentions(model)]


_FUSED = (Projection("c_attn", ("query", "key", "value")),)
_SEPARATE = (
    Projection("q_proj", ("query",)),
    Projection("k_proj", ("key",)),
    Projection("v_proj", ("value",)),
)

ANATOMIES: dict[str, Anatomy] = {
    row.family: row
    for row in (
        Anatomy(
            family="gpt2",
            layers="transformer.h",
            attention="attn",
            inputs=_FUSED,
            output="c_proj",
            weight="conv1d",
            num_kv_heads_key=None,
            head_dim_key=None,
            bias_key=None,
            width_attributes=("split_size",),
            count_attributes=("num_heads",),
            dropout_key="resid_pdrop",
            unsupported=("add_cross_attention",),
        ),
        Anatomy(
            family="llama",
            layers="model.layers",
            attention="self_attn",
            inputs=_SEPARATE,
            output="o_proj",
            weight="linear",
            num_kv_heads_key="num_key_value_heads",
            head_dim_key="head_dim",
            bias_key="attention_bias",
            group_attribute="num_key_value_groups",
        ),
    )
}

PRUNED_PREFIX = "pruned_"


def anatomy_of(config: PretrainedConfig) -> Anatomy:
    """Look up the row of a model family, dense or already pruned.

    Args:
        config: The model's configuration.

    Returns:
        The row of the dense family.

    Raises:
        UsageError: if the family has no row, or uses a feature that no row describes.
    """
    family = config.model_type.removeprefix(PRUNED_PREFIX)
    if family not in ANATOMIES:
        raise UsageError(
            f"cannot prune heads of model family '{config.model_type}'",
            f"Known families: {', '.join(sorted(ANATOMIES))}. A new one needs a row in "
            "sentinel_research/models/anatomy.py (layers, attention, projections and their layout, "
            "the attributes that follow the head count), a pair of classes in "
            "sentinel_research/models/pruned.py, and tests.",
        )
    row = ANATOMIES[family]
    for flag in row.unsupported:
        if getattr(config, flag):
            raise UsageError(
                f"cannot prune heads of a {family} model with {flag}=True",
                "Only decoder self-attention is supported.",
            )
    return row
