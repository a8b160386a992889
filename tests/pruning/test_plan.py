"""Plans: what they say, validation, round trip, and refusal of models they were not made for."""

import subprocess
import sys

import numpy as np
import pytest
from transformers import GPT2Config, LlamaConfig, OPTConfig, PretrainedConfig

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.pruning import PruningPlan, make_plan, parse_plan
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.structure import LayerParts, Structure

ALL = tuple(range(48))


@pytest.fixture
def structure() -> Structure:
    return structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=12))


def test_plan_names_the_heads_that_go(structure: Structure) -> None:
    plan = make_plan(structure, [[3, 0], [1, 2, 3]], scorer="magnitude_l2", fraction=0.4)
    assert [layer.heads for layer in plan.kept] == [(0, 3), (1, 2, 3)]
    assert [layer.neurons for layer in plan.kept] == [ALL, ALL]
    assert plan.removed == {"head": ["L0H1", "L0H2", "L1H0"]}
    # every head is its own KV group
    assert plan.num_removed == {"head": 3, "kv_head": 3}
    # 4*E*D + 3*D for every head: hidden size 12, head width 3
    assert plan.parameters_removed == 3 * (4 * 12 * 3 + 3 * 3)
    # 2 operations a multiply-add: 4*E*D + 2*T*D of them
    assert plan.flops_removed(5) == 3 * 2 * (4 * 12 * 3 + 2 * 5 * 3)
    assert not plan.is_identity


def test_plan_names_the_neurons_that_go(structure: Structure) -> None:
    plan = make_plan(structure, neurons=[ALL, (47, *range(1, 40))])
    gone = ["L1N0", *(f"L1N{neuron}" for neuron in range(40, 47))]
    assert plan.removed == {"neuron": gone}
    assert plan.num_removed == {"neuron": 8}
    # a column, a row and a bias
    assert plan.parameters_removed == 8 * (12 + 12 + 1)
    assert plan.flops_removed(5) == plan.flops_removed(50) == 8 * 2 * (12 + 12)


def test_block_takes_its_units_output_bias_and_norm_along(structure: Structure) -> None:
    plan = make_plan(structure, without={"attention": [1], "ffn": [0, 1]})
    assert plan.removed == {"attention": ["L1.attention"], "ffn": ["L0.ffn", "L1.ffn"]}
    assert plan.num_removed == {"head": 4, "neuron": 96, "attention": 1, "ffn": 2, "kv_head": 4}
    attention = 4 * (4 * 12 * 3 + 3 * 3) + 12 + 2 * 12
    ffn = 48 * (12 + 12 + 1) + 12 + 2 * 12
    assert plan.parameters_removed == attention + 2 * ffn
    assert plan.kept[1] == LayerParts(heads=(), neurons=(), has_attention=False, has_ffn=False)


def test_emptied_block_keeps_its_output_bias_and_norm(structure: Structure) -> None:
    emptied = make_plan(structure, [[], [0]], neurons=[[0], []])
    gone = make_plan(structure, [[0], [0]], neurons=[[0], [0]], without={"attention": [0]})
    assert emptied.kept[0].has_attention
    assert emptied.kept[1].has_ffn
    assert emptied.num_removed == {"head": 7, "neuron": 95, "kv_head": 7}
    assert gone.parameters_removed - emptied.parameters_removed == 36 - (12 + 12 + 1)


def test_heads_listed_for_a_block_that_goes_are_ignored(structure: Structure) -> None:
    heads = [[0, 1], [2, 3]]
    plan = make_plan(structure, heads, without={"attention": [1]})
    assert plan == make_plan(structure, [[0, 1], []], without={"attention": [1]})


@pytest.mark.parametrize("bias", [False, True])
def test_grouped_query_parameters_count_a_kv_head_only_when_its_group_is_dead(bias: bool) -> None:
    config = LlamaConfig(
        hidden_size=40,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=6,
        num_hidden_layers=1,
        attention_bias=bias,
    )
    plan = make_plan(structure_of(config), [[0, 1, 2, 6, 7]])
    assert plan.num_removed == {"head": 3, "kv_head": 1}
    per_head = 2 * 40 * 6 + 6 * bias
    assert plan.parameters_removed == 3 * per_head + 2 * 40 * 6 + 12 * bias


def test_plan_for_everything_is_the_identity(structure: Structure) -> None:
    plan = make_plan(structure)
    assert plan.is_identity
    assert plan.removed == plan.num_removed == {}
    assert plan.parameters_removed == plan.flops_removed(9) == 0
    heads = [layer.heads for layer in structure.layers]
    assert make_plan(structure, heads, neurons=[ALL, ALL], without={"ffn": []}) == plan


def test_single_weights_are_counted_but_stay_parameters(structure: Structure) -> None:
    mask = WeightMask.of(np.arange(12 * 36).reshape(12, 36) % 3 > 0)
    plan = make_plan(structure, weights={"transformer.h.0.attn.c_attn.weight": mask})
    assert not plan.is_identity
    assert plan.num_removed == {"weight": 144}
    assert plan.parameters_removed == 0
    summary = {"shape": [12, 36], "num_zero": 144, "sha256": mask.summary()["sha256"]}
    assert plan.provenance()["weights"] == {"transformer.h.0.attn.c_attn.weight": summary}


def test_provenance_says_where_a_choice_came_from_without_the_units(structure: Structure) -> None:
    scores = {"head": [[0.1, 0.2, 0.3, 0.4]] * 2}
    plan = make_plan(structure, [[3], [3]], scorer="x", seed=3, budget="flops", scores=scores)
    origin = plan.provenance()
    assert {"before", "kept", "scores", "score_errors", "weights"}.isdisjoint(origin)
    assert (origin["scorer"], origin["seed"], origin["budget"]) == ("x", 3, "flops")
    assert make_plan(structure).scorer == "manual"


def test_plan_survives_json(structure: Structure) -> None:
    scores = {"head": [[0.1, 0.2, 0.3, 0.4]] * 2, "ffn": [[1.0], [2.0]]}
    mask = WeightMask.of(np.eye(5, dtype=bool))
    plan = make_plan(
        structure,
        [[3], []],
        neurons=[[1, 5], ALL],
        without={"ffn": [1]},
        weights={"anything": mask},
        scorer="taylor",
        seed=3,
        fraction=0.9,
        granularity=("head", "ffn"),
        scores=scores,
        score_errors=scores,
    )
    assert parse_plan(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": [[0, 0], [1]]}, r"heads must be ascending and unique, got \[0, 0\]"),
        ({"heads": [[0, 4], [1]]}, "layer 0 names head 4; heads are numbered 0 to 3"),
        ({"heads": [[0], [-1]]}, "layer 1 names head -1; heads are numbered 0 to 3"),
        ({"heads": [[0]]}, "names heads for 1 layers, the model has 2"),
        ({"neurons": [[0], [48]]}, "layer 1 names neuron 48; neurons are numbered 0 to 47"),
        ({"neurons": [[0], [1], [2]]}, "names neurons for 3 layers, the model has 2"),
        ({"neurons": [[5, 5], [1]]}, r"neurons must be ascending and unique, got \[5, 5\]"),
        ({"without": {"ffn": [2]}}, "there is no layer 2 to take the ffn from"),
        ({"without": {"attention": [-1]}}, "there is no layer -1 to take the attention from"),
        ({"heads": [[], []], "neurons": [[], []]}, "removes everything"),
        ({"heads": [[], []], "without": {"ffn": [0, 1]}}, "removes everything"),
        ({"without": {"attention": [0, 1], "ffn": [0, 1]}}, "removes everything"),
    ],
    ids=["twice", "head_high", "negative", "layers", "neuron_high", "neuron_layers",
         "neuron_twice", "no_layer", "negative_layer", "units_gone", "mixed_gone", "blocks_gone"],
)  # fmt: skip
def test_impossible_plan_is_refused(
    structure: Structure, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make_plan(structure, **arguments)
    # pydantic's own words would say nothing to a user
    assert "Value error" not in caught.value.message


def test_scores_must_match_the_units_and_be_finite(structure: Structure) -> None:
    with pytest.raises(UsageError, match=r"kind head per layer \[1, 1\] do not match \[4, 4\]"):
        make_plan(structure, scores={"head": [[1.0], [2.0]]})
    with pytest.raises(UsageError, match=r"score_errors of kind ffn per layer \[2, 1\]"):
        make_plan(structure, score_errors={"ffn": [[1.0, 1.0], [2.0]]})
    with pytest.raises(UsageError, match="finite"):
        make_plan(structure, scores={"head": [[float("nan")] * 4] * 2})


@pytest.mark.parametrize("text", ["not json", "{}", '{"format_version": 1}'])
def test_unreadable_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid pruning plan"):
        parse_plan(text)


@pytest.mark.parametrize("fraction", [-0.5, 1.5])
def test_fraction_that_is_no_share_is_refused(structure: Structure, fraction: float) -> None:
    with pytest.raises(UsageError, match="invalid pruning plan: fraction: Input should be"):
        make_plan(structure, fraction=fraction)


def test_unknown_key_is_refused(structure: Structure) -> None:
    with pytest.raises(UsageError, match="Extra inputs"):
        make_plan(structure, sparsity=0.5)


_SMALL = {"n_layer": 2, "n_head": 4, "n_embd": 12}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LlamaConfig(num_hidden_layers=2), "plan for a gpt2 model does not fit a llama model"),
        (GPT2Config(**{**_SMALL, "n_layer": 3}), "2 layers does not fit a model with 3"),
        (GPT2Config(**{**_SMALL, "n_head": 3}), "num_heads=4 does not fit"),
        (GPT2Config(**{**_SMALL, "n_embd": 16}), "head_dim=3 does not fit"),
        (GPT2Config(**_SMALL, n_inner=47), "intermediate_size=48 does not fit"),
    ],
    ids=["family", "layers", "heads", "width", "neurons"],
)
def test_plan_for_another_model_is_refused(
    structure: Structure, config: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_plan(structure).check_fits(structure_of(config))


_WIDE = {"num_hidden_layers": 1, "num_attention_heads": 4, "hidden_size": 16}


@pytest.mark.parametrize(
    ("made_for", "other", "field"),
    [
        (LlamaConfig(**_WIDE, attention_bias=True), LlamaConfig(**_WIDE), "attention_input_bias"),
        (LlamaConfig(**_WIDE), LlamaConfig(**_WIDE, attention_bias=True), "attention_input_bias"),
        (LlamaConfig(**_WIDE, mlp_bias=True), LlamaConfig(**_WIDE), "ffn_input_bias"),
        (OPTConfig(**_WIDE), OPTConfig(**_WIDE, layer_norm_elementwise_affine=False),
         "norm_parameters"),
    ],
    ids=["lost", "gained", "ffn", "norm"],
)  # fmt: skip
def test_plan_for_a_model_with_other_biases_is_refused(
    made_for: PretrainedConfig, other: PretrainedConfig, field: str
) -> None:
    plan = make_plan(structure_of(made_for))
    plan.check_fits(structure_of(made_for))
    with pytest.raises(UsageError, match=f"plan for {field}=.* does not fit a model with {field}="):
        plan.check_fits(structure_of(other))


@pytest.mark.parametrize("field", ["attention_output_bias", "ffn_output_bias"])
def test_output_biases_may_be_added_to_a_model_and_not_taken_away(field: str) -> None:
    plain = structure_of(LlamaConfig(**_WIDE))
    compensated = plain.model_copy(update={field: True})
    make_plan(plain).check_fits(compensated)
    with pytest.raises(UsageError, match=f"plan for {field}=True does not fit"):
        make_plan(compensated).check_fits(plain)


def test_plan_that_keeps_what_is_already_gone_is_refused(structure: Structure) -> None:
    dense = make_plan(structure)
    smaller = make_plan(structure, [[0, 2, 3], [0, 1, 2, 3]]).after
    with pytest.raises(UsageError, match=r"keeps \['L0H1'\], which this model no longer has"):
        dense.check_fits(smaller)
    with pytest.raises(UsageError, match=r"keeps \['L1N0', 'L1N1', "):
        dense.check_fits(make_plan(structure, without={"ffn": [1]}).after)
    with pytest.raises(UsageError, match=r"keeps \['L0H1'\], which the model did not have"):
        make_plan(smaller, [[0, 1], [1, 2]])


def test_plan_for_a_pruned_model_fits_the_dense_one(structure: Structure) -> None:
    smaller = make_plan(structure, [[0, 2, 3], [0, 1]]).after
    plan = make_plan(smaller, [[0], [1]])
    plan.check_fits(structure)
    assert plan.removed == {"head": ["L0H2", "L0H3", "L1H0"]}


def test_plan_of_single_weights_fits_only_the_very_same_structure(structure: Structure) -> None:
    mask = WeightMask.of(np.ones((12, 36), dtype=bool))
    plan = make_plan(structure, weights={"transformer.h.0.attn.c_attn.weight": mask})
    plan.check_fits(structure)
    with pytest.raises(UsageError, match="single weights of a model with other heads or neurons"):
        plan.check_fits(make_plan(structure, [[0, 1], [0, 1]]).after)


def test_plans_load_without_torch() -> None:
    code = "import sys, sentinel_research.pruning as p; p.parse_plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_plan_type_is_what_the_package_exports(structure: Structure) -> None:
    assert isinstance(make_plan(structure), PruningPlan)
