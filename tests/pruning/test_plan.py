"""Plans: validation, round trip, and refusal of models they were not made for."""

import subprocess
import sys

import pytest
from transformers import GPT2Config, LlamaConfig, OPTConfig

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models import Heads, heads_of
from sentinel_research.models.pruned import PrunedLlamaConfig
from sentinel_research.pruning import PruningPlan, make_plan, parse_plan


@pytest.fixture
def heads() -> Heads:
    return heads_of(GPT2Config(n_layer=2, n_head=4, n_embd=12))


def test_plan_names_what_goes(heads: Heads) -> None:
    plan = make_plan(heads, [[3, 0], [1, 2, 3]], scorer="magnitude", fraction=0.4)
    assert plan.kept_heads == ((0, 3), (1, 2, 3))
    assert plan.removed_heads == ["L0H1", "L0H2", "L1H0"]
    assert plan.num_removed == plan.num_kv_removed == 3
    # 4*E*D + 3*D for every head: hidden size 12, head width 3
    assert plan.parameters_removed == 3 * (4 * 12 * 3 + 3 * 3)
    assert not plan.is_identity
    assert make_plan(heads, heads.kept).is_identity


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
    plan = make_plan(heads_of(config), [[0, 1, 2, 6, 7]])
    assert plan.num_removed == 3
    assert plan.num_kv_removed == 1
    per_head = 2 * 40 * 6 + 6 * bias
    assert plan.parameters_removed == 3 * per_head + 2 * 40 * 6 + 12 * bias


def test_plan_survives_json(heads: Heads) -> None:
    scores = [[0.1, 0.2, 0.3, 0.4]] * 2
    plan = make_plan(heads, [[3], []], scorer="taylor", seed=3, fraction=0.9, scores=scores)
    assert parse_plan(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([[0, 0], [1]], "names a head twice in layer 0"),
        ([[0, 4], [1]], "names head 4 in layer 0; heads are numbered 0 to 3"),
        ([[0], [-1]], "names head -1 in layer 1"),
        ([[0]], "names heads for 1 layers, the model has 2"),
    ],
    ids=["twice", "too_high", "negative", "layers"],
)
def test_impossible_heads_are_refused(heads: Heads, kept: list[list[int]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_plan(heads, kept)


def test_scores_must_match_the_heads_and_be_finite(heads: Heads) -> None:
    with pytest.raises(UsageError, match="do not match heads"):
        make_plan(heads, heads.kept, scores=[[1.0], [2.0]])
    with pytest.raises(UsageError, match="finite"):
        make_plan(heads, heads.kept, scores=[[float("nan")] * 4] * 2)


@pytest.mark.parametrize("text", ["not json", "{}", '{"format_version": 2}'])
def test_unreadable_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid pruning plan"):
        parse_plan(text)


def test_unknown_key_is_refused(heads: Heads) -> None:
    with pytest.raises(UsageError, match="Extra inputs"):
        make_plan(heads, heads.kept, sparsity=0.5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LlamaConfig(num_hidden_layers=2), "plan for a gpt2 model does not fit a llama model"),
        (GPT2Config(n_layer=3, n_head=4, n_embd=12), "2 layers does not fit a model with 3"),
        (GPT2Config(n_layer=2, n_head=3, n_embd=12), "num_heads=4 does not fit"),
        (GPT2Config(n_layer=2, n_head=4, n_embd=16), "head_dim=3 does not fit"),
    ],
    ids=["family", "layers", "heads", "width"],
)
def test_plan_for_another_model_is_refused(heads: Heads, config: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_plan(heads, heads.kept).check_fits(heads_of(config))


def test_plan_that_keeps_heads_already_gone_is_refused(heads: Heads) -> None:
    plan = make_plan(heads, heads.kept)
    with pytest.raises(UsageError, match=r"keeps \['L0H1'\], which this model no longer has"):
        plan.check_fits(heads.reduced_to(((0, 2, 3), (0, 1, 2, 3))))
    with pytest.raises(UsageError, match="which the model did not have"):
        make_plan(heads.reduced_to(((0,), (1,))), [[0], [1, 2]])


def test_unknown_family_says_what_a_new_row_needs() -> None:
    with pytest.raises(UsageError, match="cannot prune heads of model family 'opt'") as caught:
        heads_of(OPTConfig())
    assert "anatomy.py" in caught.value.hint
    assert "gpt2, llama" in caught.value.hint


def test_cross_attention_is_refused() -> None:
    with pytest.raises(UsageError, match="add_cross_attention"):
        heads_of(GPT2Config(add_cross_attention=True))


@pytest.mark.parametrize("kept", [[2, 1], [0, 0], [0, 99]])
def test_configuration_with_impossible_heads_is_refused(kept: list[int]) -> None:
    layers = {str(layer): {"kept_heads": kept} for layer in range(2)}
    with pytest.raises(CheckpointError, match="configuration keeps heads"):
        PrunedLlamaConfig(num_hidden_layers=2, num_attention_heads=4, per_layer_config=layers)


def test_pruned_configuration_without_heads_is_refused() -> None:
    with pytest.raises(CheckpointError, match="names no heads"):
        heads_of(PrunedLlamaConfig())


def test_plans_load_without_torch() -> None:
    code = "import sys, sentinel_research.pruning as p; p.parse_plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_plan_type_is_what_the_package_exports(heads: Heads) -> None:
    assert isinstance(make_plan(heads, heads.kept), PruningPlan)
