"""Where heads, neurons and blocks live in each model family, as a table.

One `Anatomy` row says everything that the rest of the package needs to score, mask and remove
parts of a family: the path of the decoder layers, the names of the projections, how query, key and
value are laid out in them, and which attributes follow the number of heads. A new family is one row
here, one pair of classes in `pruned.py`, one of `tiny.py`, and it inherits every test.

Glossary: a head is (layer, query head), printed `L3H7`; a neuron `L3N12`. `E` is the hidden size,
`D` the width of a head. See `sentinel_research.structure` for the rest.
"""

from typing import Any

from transformers import PretrainedConfig

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy_schema import Anatomy, Part, Projection

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
