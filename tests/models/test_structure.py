"""What a configuration says about a model, against the modules that transformers builds."""

from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig, PretrainedConfig, T5Config

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models import ANATOMIES, anatomy_of, context_length, structure_of
from sentinel_research.models.layout import (
    head_columns,
    norm_stays,
    per_layer_config,
    projection_paths,
    projection_rows,
)
from sentinel_research.models.pruned import PRUNED_CLASSES, PrunedLlamaConfig
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import make_plan, remove
from sentinel_research.pruning.report import forward_flops_per_token
from sentinel_research.structure import LayerParts, Structure, dense_layer, label

every_family = pytest.mark.parametrize("family", FAMILIES)
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    *[(family, {}) for family in FAMILIES],
    ("gpt2", {"n_inner": None}),
    ("opt", {"enable_bias": False}),
    ("opt", {"layer_norm_elementwise_affine": False}),
    ("opt", {"do_layer_norm_before": False}),
    ("bloom", {"apply_residual_connection_post_layernorm": True}),
    ("gpt_neox", {"attention_bias": False}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": True}),
    ("llama", {"num_key_value_heads": 1}),
    ("llama", {"num_key_value_heads": 8}),
]
every_config = pytest.mark.parametrize(
    ("family", "config"), CONFIGS, ids=lambda value: value if isinstance(value, str) else
    "-".join(f"{k}={v}" for k, v in value.items()) or "tiny",
)  # fmt: skip


def test_every_family_has_a_row_a_tiny_model_and_a_pair_of_pruned_classes() -> None:
    assert set(FAMILIES) == set(ANATOMIES) == set(PRUNED_CLASSES)


@every_config
def test_parameters_of_the_blocks_are_those_of_the_layers(
    family: str, config: dict[str, Any]
) -> None:
    model = tiny_model(family, **config)
    structure, row = structure_of(model.config), anatomy_of(model.config)
    layers = model.get_submodule(row.layers)
    found = sum(parameter.numel() for parameter in layers.parameters())
    if norm_stays(model.config):
        # norms that the residual stream runs through belong to no block
        assert structure.norm_parameters == 0
        found -= sum(
            parameter.numel()
            for layer in range(structure.num_layers)
            for block in ("attention", "ffn")
            for parameter in model.get_submodule(row.norm_path(layer, block)).parameters()
        )
    assert structure.num_parameters() == found


@every_config
def test_operations_of_the_blocks_are_those_of_a_forward_pass_without_the_head(
    family: str, config: dict[str, Any]
) -> None:
    model = tiny_model(family, **config)
    structure, length = structure_of(model.config), 7
    vocabulary, hidden = model.get_input_embeddings().weight.shape
    around = 2 * vocabulary * hidden
    if family == "opt":
        # embeddings of another width are projected in and out
        around += 2 * 2 * hidden * structure.hidden_size
    found = forward_flops_per_token(model, length)
    assert structure.flops_per_token(length) == found - around


@every_family
def test_projections_are_where_the_row_says_and_of_the_shape_it_says(family: str) -> None:
    model = tiny_model(family)
    row, structure = anatomy_of(model.config), structure_of(model.config)
    for layer in range(structure.num_layers):
        paths = projection_paths(row, structure, layer)
        assert len(set(paths)) == len(paths) == len(row.inputs) + 1 + len(row.ffn_inputs) + 1
        for path in paths:
            assert model.get_submodule(path).weight.ndim == 2
        for block in ("attention", "ffn"):
            assert model.get_submodule(row.norm_path(layer, block)).weight.ndim == 1
    paths = [row.attention_path(layer) for layer in range(structure.num_layers)]
    assert row.attentions(model) == [model.get_submodule(path) for path in paths]


@every_family
def test_rows_of_all_heads_in_order_are_all_rows(family: str) -> None:
    model = tiny_model(family)
    row, structure = anatomy_of(model.config), structure_of(model.config)
    queries, groups = range(structure.num_heads), range(structure.num_kv_heads)
    for projection, path in zip(row.inputs, row.input_paths(0, "attention"), strict=True):
        rows = projection_rows(structure, 0, projection, queries, groups)
        width = model.get_submodule(path).weight.shape[row.input_axis]
        assert rows.tolist() == list(range(width))
    assert head_columns(structure, queries).tolist() == list(
        range(structure.num_heads * structure.head_dim)
    )


def test_rows_of_fused_blocks_and_of_interleaved_heads() -> None:
    gpt2, neox = (tiny_model(family).config for family in ("gpt2", "gpt_neox"))
    (block,), (interleaved,) = anatomy_of(gpt2).inputs, anatomy_of(neox).inputs
    # 5 heads: width 6 in three blocks of 30, width 8 in five blocks of 24
    rows = projection_rows(structure_of(gpt2), 0, block, [4, 1], [4, 1])
    assert rows[::6].tolist() == [24, 6, 54, 36, 84, 66]
    rows = projection_rows(structure_of(neox), 0, interleaved, [4, 1], [4, 1])
    assert rows[::8].tolist() == [96, 104, 112, 24, 32, 40]


def test_head_width_is_the_configured_one_or_follows_from_the_hidden_size() -> None:
    config = {"hidden_size": 32, "num_attention_heads": 8, "num_key_value_heads": 2}
    assert structure_of(LlamaConfig(**config)).head_dim == 4
    assert structure_of(LlamaConfig(**config, head_dim=6)).head_dim == 6
    assert structure_of(LlamaConfig(**config)).group_size == 4


def test_neurons_are_the_configured_ones_or_four_times_the_hidden_size() -> None:
    assert structure_of(GPT2Config(n_embd=24, n_head=3)).intermediate_size == 96
    assert structure_of(GPT2Config(n_embd=24, n_head=3, n_inner=5)).intermediate_size == 5
    assert structure_of(tiny_model("bloom").config).intermediate_size == 120


@every_family
def test_context_is_the_models_limit_or_none(family: str) -> None:
    assert context_length(tiny_model(family).config) == (None if family == "bloom" else 64)


@every_family
def test_structure_survives_its_configuration_and_json(family: str) -> None:
    model = tiny_model(family)
    plan = make_plan(
        structure_of(model.config), [[0], [], [1, 4]], neurons=[[], [5], [7]], without={"ffn": [2]}
    )
    pruned = remove(model, plan)
    assert structure_of(pruned.config) == plan.after
    again = type(pruned.config).from_dict(pruned.config.to_dict())
    assert structure_of(again) == plan.after
    assert Structure.model_validate_json(plan.after.model_dump_json()) == plan.after


def test_configuration_names_only_what_is_missing() -> None:
    structure = structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=12, n_inner=3))
    every = [0, 1, 2, 3]
    assert per_layer_config(structure) == {
        "0": {"kept_heads": every},
        "1": {"kept_heads": every},
    }
    fewer = make_plan(structure, neurons=[[0, 1, 2], [1]]).after
    assert [layer["kept_neurons"] for layer in per_layer_config(fewer).values()] == [[0, 1, 2], [1]]
    gone = make_plan(structure, without={"attention": [1]}).after
    assert per_layer_config(gone)["1"]["skip"] == ["attention"]
    assert not per_layer_config(gone)["0"].get("skip")


def test_groups_are_counted_by_the_query_heads_that_are_left() -> None:
    structure = structure_of(LlamaConfig(num_attention_heads=8, num_key_value_heads=4,
                                         num_hidden_layers=3))  # fmt: skip
    after = make_plan(structure, [[1, 4, 5], [0, 2, 7], []]).after
    assert [after.kv_heads(layer) for layer in range(3)] == [(0, 2), (0, 1, 3), ()]
    assert [after.group_sizes(layer) for layer in range(3)] == [(1, 2), (1, 1, 1), ()]
    assert [after.is_ragged(layer) for layer in range(3)] == [True, False, False]
    assert after.num_units("head") == (3, 3, 0)
    assert after.num_units("layer") == after.num_units("attention") == (1, 1, 1)
    assert not after.is_dense
    assert structure.is_dense


def test_layer_is_a_unit_while_one_of_its_blocks_is_there() -> None:
    structure = structure_of(GPT2Config(n_layer=3, n_head=4, n_embd=12))
    after = make_plan(structure, without={"attention": [0, 2], "ffn": [1, 2]}).after
    assert after.num_units("layer") == (1, 1, 0)
    assert after.num_units("attention") == (0, 1, 0)
    assert after.num_units("ffn") == (1, 0, 0)


def test_labels() -> None:
    kinds = (("head", 7), ("neuron", 12), ("attention", 0), ("ffn", 0))
    assert [label(3, *kind) for kind in kinds] == ["L3H7", "L3N12", "L3.attention", "L3.ffn"]


def test_layer_that_contradicts_itself_is_refused() -> None:
    assert dense_layer(2, 3) == LayerParts(heads=(0, 1), neurons=(0, 1, 2))
    with pytest.raises(ValueError, match=r"block that is gone cannot keep heads \[1\]"):
        LayerParts(heads=(1,), neurons=(), has_attention=False)
    with pytest.raises(ValueError, match="neurons must be ascending and unique"):
        LayerParts(heads=(), neurons=(2, 1))


def test_heads_that_do_not_divide_into_groups_are_refused() -> None:
    config = PretrainedConfig()
    config.model_type = "llama"
    fields = LlamaConfig(num_hidden_layers=1, num_attention_heads=6, num_key_value_heads=3,
                         hidden_size=24).to_dict()  # fmt: skip
    for key, value in {**fields, "num_key_value_heads": 4}.items():
        setattr(config, key, value)
    with pytest.raises(CheckpointError, match="6 query heads do not divide into 4 KV groups"):
        structure_of(config)


def test_unknown_family_says_what_a_new_row_needs() -> None:
    with pytest.raises(UsageError, match="model family 't5'") as caught:
        structure_of(T5Config())
    assert "anatomy.py" in caught.value.hint
    assert "bloom, gpt2, gpt_neox, llama, mistral, opt, qwen2" in caught.value.hint


@pytest.mark.parametrize(
    ("family", "key"), [("gpt2", "add_cross_attention"), ("bloom", "slow_but_exact")]
)
def test_feature_that_no_row_describes_is_refused(family: str, key: str) -> None:
    config = tiny_model(family).config
    setattr(config, key, True)
    with pytest.raises(UsageError, match=f"{key}=True"):
        structure_of(config)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"kept_heads": [2, 1]}, "heads must be ascending"),
        ({"kept_heads": [0, 0]}, "heads must be ascending"),
        ({"kept_heads": [0, 99]}, "names head 99"),
        ({"kept_heads": [0], "kept_neurons": [-1]}, "names neuron -1"),
        ({"kept_heads": [0], "skip": ["attention"]}, "gone cannot keep heads"),
    ],
    ids=["order", "twice", "head", "neuron", "block"],
)
def test_configuration_with_impossible_parts_is_refused(
    layer: dict[str, Any], message: str
) -> None:
    layers = {str(index): layer for index in range(2)}
    with pytest.raises(CheckpointError, match=message):
        PrunedLlamaConfig(num_hidden_layers=2, num_attention_heads=4, per_layer_config=layers)


def test_pruned_configuration_without_parts_is_refused() -> None:
    with pytest.raises(CheckpointError, match="names no heads"):
        structure_of(PrunedLlamaConfig())
