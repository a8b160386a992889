"""Where heads, neurons and blocks live in each model family, as a table.

One `Anatomy` row says everything that the rest of the package needs to score, mask and remove
parts of a family: the path of the decoder layers, the names of the projections, how query, key and
value are laid out in them, and which attributes follow the number of heads. A new family is one row
here, one pair of classes in `pruned.py`, one of `tiny.py`, and it inherits every test.

Glossary: a head is (layer, query head), printed `L3H7`; a neuron `L3N12`. `E` is the hidden size,
`D` the width of a head. See `sentinel_research.structure` for the rest.
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from sentinel_research.errors import UsageError

Part = Literal["query", "key", "value"]
Flag = bool | str
"""A constant, or the configuration key that holds it."""


@dataclass(frozen=True)
class Projection:
    """One input projection of an attention module."""

    name: str
    """Attribute of the attention module."""
    parts: tuple[Part, ...]
    """What the output holds, in order."""
    interleaved: bool = False
    """False: one block per part, heads follow each other inside it (`[part, head, D]`). True: one
    block per head, parts follow each other inside it (`[head, part, D]`)."""


@dataclass(frozen=True)
class Anatomy:
    """How one model family lays out its decoder layers."""

    family: str
    """transformers' `model_type` of the dense model."""
    layers: str
    """Path of the list of decoder layers."""
    attention: str
    """Attention module inside a decoder layer."""
    inputs: tuple[Projection, ...]
    """Projections from the hidden state, inside the attention module."""
    output: str
    """Projection from the concatenated heads back to the hidden state."""
    ffn: str
    """Feed-forward module inside a decoder layer; empty if its projections sit in the layer."""
    ffn_inputs: tuple[str, ...]
    """Projections from the hidden state to the neurons."""
    ffn_output: str
    """Projection from the neurons back to the hidden state."""
    attention_norm: str
    """Norm in front of the attention block, inside a decoder layer."""
    ffn_norm: str
    """Norm in front of the feed-forward block."""
    weight: Literal["linear", "conv1d"] = "linear"
    """`linear`: weights are [out, in] (nn.Linear); `conv1d`: [in, out] (transformers' Conv1D)."""
    num_kv_heads_key: str | None = None
    """Configuration key of the number of key/value heads; None for multi-head attention."""
    intermediate_key: str | None = None
    """Configuration key of the number of neurons; where it is None or unset, 4 * hidden size."""
    attention_input_bias: Flag = True
    """Whether the query, key and value projections have biases."""
    attention_output_bias: Flag = True
    """Whether the attention output projection has a bias."""
    ffn_bias: Flag = True
    """Whether the feed-forward projections have biases."""
    norm_vectors: Literal[1, 2] = 2
    """Vectors of size E in a norm: 2 for LayerNorm, 1 for RMSNorm."""
    norm_affine: Flag = True
    """Whether norms have parameters."""
    norm_stays: tuple[str, bool] | None = None
    """Configuration key and value under which the norm is not part of its block, and stays."""
    width_attributes: tuple[str, ...] = ()
    """Attributes of the attention module that equal heads * head width."""
    count_attributes: tuple[str, ...] = ()
    """Attributes of the attention module that equal the number of query heads."""
    group_attribute: str | None = None
    """Attribute that equals query heads per key/value head."""
    dropout_key: str | None = None
    """Configuration key of the dropout that follows the attention output inside the module."""
    residual_inside: bool = False
    """True if the attention module itself adds the residual stream."""
    has_slopes: bool = False
    """True if heads carry ALiBi slopes, which belong to original head indices."""
    context_key: str | None = "max_position_embeddings"
    """Configuration key of the longest sequence; None if there is no limit."""
    window_key: str | None = None
    """Configuration key of the attention window; None if a row sees all keys before it."""
    layer_types_key: str | None = None
    """Configuration key of the layers' kinds, of which `sliding_attention` has the window; None if
    all layers have it."""
    unsupported: tuple[tuple[str, Any], ...] = ()
    """Configuration keys and values that nothing here handles."""

    @property
    def input_axis(self) -> int:
        """Axis of an input projection's weight that runs over units."""
        return 0 if self.weight == "linear" else 1

    @property
    def output_axis(self) -> int:
        """Axis of an output projection's weight that runs over units."""
        return 1 - self.input_axis

    def attention_path(self, layer: int) -> str:
        """Module path of the attention of one layer, as in state-dict keys."""
        return f"{self.layers}.{layer}.{self.attention}"

    def ffn_path(self, layer: int) -> str:
        """Module path that the feed-forward projections of one layer sit in."""
        return f"{self.layers}.{layer}.{self.ffn}".removesuffix(".")

    def output_path(self, layer: int, block: Literal["attention", "ffn"]) -> str:
        """Module path of the output projection of one block."""
        if block == "attention":
            return f"{self.attention_path(layer)}.{self.output}"
        return f"{self.ffn_path(layer)}.{self.ffn_output}"

    def input_paths(self, layer: int, block: Literal["attention", "ffn"]) -> list[str]:
        """Module paths of the input projections of one block."""
        if block == "attention":
            return [f"{self.attention_path(layer)}.{p.name}" for p in self.inputs]
        return [f"{self.ffn_path(layer)}.{name}" for name in self.ffn_inputs]

    def norm_path(self, layer: int, block: Literal["attention", "ffn"]) -> str:
        """Module path of the norm in front of one block."""
        name = self.attention_norm if block == "attention" else self.ffn_norm
        return f"{self.layers}.{layer}.{name}"

    def attentions(self, model: PreTrainedModel) -> list[nn.Module]:
        """The attention modules of a model, in layer order."""
        count = len(list(model.get_submodule(self.layers).children()))
        return [model.get_submodule(self.attention_path(layer)) for layer in range(count)]

    def outputs(
        self, model: PreTrainedModel, block: Literal["attention", "ffn"]
    ) -> list[nn.Module]:
        """The output projections of one block of a model, in layer order."""
        count = len(list(model.get_submodule(self.layers).children()))
        return [model.get_submodule(self.output_path(layer, block)) for layer in range(count)]


_FUSED: tuple[Part, ...] = ("query", "key", "value")
_SEPARATE = (
    Projection("q_proj", ("query",)),
    Projection("k_proj", ("key",)),
    Projection("v_proj", ("value",)),
)
_LLAMA = Anatomy(
    family="llama",
    layers="model.layers",
    attention="self_attn",
    inputs=_SEPARATE,
    output="o_proj",
    ffn="mlp",
    ffn_inputs=("gate_proj", "up_proj"),
    ffn_output="down_proj",
    attention_norm="input_layernorm",
    ffn_norm="post_attention_layernorm",
    num_kv_heads_key="num_key_value_heads",
    intermediate_key="intermediate_size",
    attention_input_bias="attention_bias",
    attention_output_bias="attention_bias",
    ffn_bias="mlp_bias",
    norm_vectors=1,
    group_attribute="num_key_value_groups",
)


def _like(row: Anatomy, **changes: Any) -> Anatomy:
    return Anatomy(**{**row.__dict__, **changes})


ANATOMIES: dict[str, Anatomy] = {
    row.family: row
    for row in (
        Anatomy(
            family="gpt2",
            layers="transformer.h",
            attention="attn",
            inputs=(Projection("c_attn", _FUSED),),
            output="c_proj",
            ffn="mlp",
            ffn_inputs=("c_fc",),
            ffn_output="c_proj",
            attention_norm="ln_1",
            ffn_norm="ln_2",
            weight="conv1d",
            intermediate_key="n_inner",
            width_attributes=("split_size",),
            count_attributes=("num_heads",),
            dropout_key="resid_pdrop",
            unsupported=(("add_cross_attention", True),),
        ),
        Anatomy(
            family="opt",
            layers="model.decoder.layers",
            attention="self_attn",
            inputs=_SEPARATE,
            output="out_proj",
            ffn="",
            ffn_inputs=("fc1",),
            ffn_output="fc2",
            attention_norm="self_attn_layer_norm",
            ffn_norm="final_layer_norm",
            intermediate_key="ffn_dim",
            attention_input_bias="enable_bias",
            attention_output_bias="enable_bias",
            ffn_bias="enable_bias",
            norm_affine="layer_norm_elementwise_affine",
            norm_stays=("do_layer_norm_before", False),
            count_attributes=("num_heads",),
        ),
        Anatomy(
            family="bloom",
            layers="transformer.h",
            attention="self_attention",
            inputs=(Projection("query_key_value", _FUSED, interleaved=True),),
            output="dense",
            ffn="mlp",
            ffn_inputs=("dense_h_to_4h",),
            ffn_output="dense_4h_to_h",
            attention_norm="input_layernorm",
            ffn_norm="post_attention_layernorm",
            norm_stays=("apply_residual_connection_post_layernorm", True),
            width_attributes=("split_size",),
            count_attributes=("num_heads",),
            dropout_key="hidden_dropout",
            residual_inside=True,
            has_slopes=True,
            context_key=None,
            unsupported=(("slow_but_exact", True),),
        ),
        Anatomy(
            family="gpt_neox",
            layers="gpt_neox.layers",
            attention="attention",
            inputs=(Projection("query_key_value", _FUSED, interleaved=True),),
            output="dense",
            ffn="mlp",
            ffn_inputs=("dense_h_to_4h",),
            ffn_output="dense_4h_to_h",
            attention_norm="input_layernorm",
            ffn_norm="post_attention_layernorm",
            intermediate_key="intermediate_size",
            attention_input_bias="attention_bias",
            attention_output_bias="attention_bias",
        ),
        _LLAMA,
        _like(
            _LLAMA,
            family="mistral",
            attention_input_bias=False,
            attention_output_bias=False,
            ffn_bias=False,
            window_key="sliding_window",
        ),
        _like(
            _LLAMA,
            family="qwen2",
            attention_input_bias=True,
            attention_output_bias=False,
            ffn_bias=False,
            window_key="sliding_window",
            layer_types_key="layer_types",
        ),
    )
}

PRUNED_PREFIX = "pruned_"
AGENCY_PREFIX = "agency_"


def family_of(config: PretrainedConfig) -> str:
    """transformers' `model_type` of the dense model that a model was made from, known or not."""
    return config.model_type.removeprefix(PRUNED_PREFIX).removeprefix(AGENCY_PREFIX)


def anatomy_of(config: PretrainedConfig) -> Anatomy:
    """Look up the row of a model family, dense, already pruned or gated.

    Args:
        config: The model's configuration.

    Returns:
        The row of the dense family.

    Raises:
        UsageError: if the family has no row, or uses a feature that no row describes.
    """
    family = family_of(config)
    if family not in ANATOMIES:
        raise UsageError(
            f"cannot prune heads of model family '{config.model_type}'",
            f"Known families: {', '.join(sorted(ANATOMIES))}. A new one needs a row in "
            "sentinel_research/models/anatomy.py (layers, attention and feed-forward projections "
            "and their layout, the attributes that follow the head count), a pair of classes in "
            "sentinel_research/models/pruned.py, and a tiny model in "
            "sentinel_research/models/tiny.py, which puts it through every test.",
        )
    row = ANATOMIES[family]
    for key, value in row.unsupported:
        if getattr(config, key) == value:
            raise UsageError(
                f"cannot prune heads of a {family} model with {key}={value}",
                "Only plain decoder self-attention is supported.",
            )
    return row


def context_length(config: PretrainedConfig) -> int | None:
    """Longest sequence in tokens that a model accepts; None if it has no limit."""
    key = anatomy_of(config).context_key
    return None if key is None else int(getattr(config, key))
