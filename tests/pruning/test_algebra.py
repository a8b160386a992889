"""Combining plans: what the results say of themselves, examples, and refusals."""

import numpy as np
import pytest
from transformers import GPT2Config, LlamaConfig, OPTConfig

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.pruning import PruningPlan, difference, make_plan, merge, transfer
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.structure import Structure

SCORES = {"head": [[0.4, 0.1, 0.3, 0.2]] * 2}


@pytest.fixture
def structure() -> Structure:
    return structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=12))


def test_merge_and_difference_name_their_origin_and_drop_the_scores(structure: Structure) -> None:
    a = make_plan(structure, [[0, 2], [0, 1, 2]], scorer="a", scores=SCORES)
    b = make_plan(structure, [[0, 1, 2], [0, 2]], neurons=[[5], [6]], scorer="b")
    both, left = merge(a, b), difference(a, b)
    assert [layer.heads for layer in both.kept] == [(0, 2), (0, 2)]
    assert [layer.neurons for layer in both.kept] == [(5,), (6,)]
    assert left.removed == {"head": ["L0H1"]}
    assert (both.scorer, left.scorer) == ("merge of a and b", "difference of a and b")
    assert both.scores is left.scores is None


def test_difference_gives_a_block_back_that_both_plans_take(structure: Structure) -> None:
    a = make_plan(structure, without={"attention": [0], "ffn": [1]})
    b = make_plan(structure, without={"attention": [0, 1]})
    assert difference(a, b).removed == {"ffn": ["L1.ffn"]}
    assert merge(a, b).removed == {"attention": ["L0.attention", "L1.attention"], "ffn": ["L1.ffn"]}


def test_merge_that_would_leave_nothing_is_refused(structure: Structure) -> None:
    a = make_plan(structure, without={"attention": [0, 1]})
    b = make_plan(structure, without={"ffn": [0, 1]})
    with pytest.raises(UsageError, match="removes everything"):
        merge(a, b)


def test_plans_for_different_models_and_for_single_weights_do_not_combine(
    structure: Structure,
) -> None:
    plan = make_plan(structure, [[0], [1]])
    later = make_plan(plan.after, [[0], []])
    sparse = make_plan(structure, weights={"x": WeightMask.of(np.eye(2, dtype=bool))})
    for combine in (merge, difference):
        with pytest.raises(UsageError, match="plans for different models") as caught:
            combine(plan, later)
        assert "transfer" in caught.value.hint
        for pair in ((plan, sparse), (sparse, plan)):
            with pytest.raises(UsageError, match="single weights"):
                combine(*pair)


def test_transfer_goes_by_rank_and_relative_depth(structure: Structure) -> None:
    # layer 0 loses its two least important heads, layer 1 its most important one
    plan = make_plan(structure, [[0, 2], [1, 2, 3]], scorer="mine", scores=SCORES)
    config = {"num_key_value_heads": 2, "hidden_size": 16, "intermediate_size": 5}
    target = structure_of(LlamaConfig(num_hidden_layers=4, num_attention_heads=4, **config))
    own = {"head": [[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1]]}
    moved = transfer(plan, target, own)
    assert moved.removed == {"head": ["L0H0", "L0H1", "L1H2", "L1H3", "L2H3", "L3H0"]}
    assert moved.scorer == "transfer of mine"


def test_transfer_to_fewer_layers_averages_the_layers_at_the_same_depth() -> None:
    deep = structure_of(GPT2Config(n_layer=4, n_head=4, n_embd=12))
    scores = {"head": [[0, 1, 2, 3]] * 4}
    # of the first two layers only the lowest rank stays whole, of the last two only it goes
    plan = make_plan(deep, [[0], [0], [1, 2, 3], [1, 2, 3]], scores=scores)
    flat = structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=12))
    assert transfer(plan, flat, SCORES).removed == {"head": ["L0H0", "L0H2", "L0H3", "L1H1"]}
    # a rank that goes in one of two layers goes by half: three halves are one whole head
    plan = make_plan(deep, [[0], range(4), range(4), range(4)], scores=scores)
    assert transfer(plan, flat, SCORES).removed == {"head": ["L0H3"]}


def test_transfer_of_the_identity_needs_no_scores(structure: Structure) -> None:
    target = structure_of(GPT2Config(n_layer=3, n_head=3, n_embd=12))
    assert transfer(make_plan(structure), target, {}).is_identity


def test_transfer_leaves_the_minimum_in_every_layer() -> None:
    many = structure_of(GPT2Config(n_layer=4, n_head=10, n_embd=30))
    plan = make_plan(many, [[9]] * 4, scores={"head": [range(10)] * 4})
    few = structure_of(OPTConfig(num_hidden_layers=4, num_attention_heads=2, hidden_size=6))
    own = {"head": [[1.0, 2.0]] * 4}
    assert [len(layer.heads) for layer in transfer(plan, few, own).kept] == [0, 0, 0, 1]
    for least, left in ((1, [1, 1, 1, 1]), (2, [2] * 4), (3, [2] * 4)):
        kept = transfer(plan, few, own, min_per_layer=least).kept
        assert [len(layer.heads) for layer in kept] == left


def test_transfer_moves_whole_groups_where_asked(structure: Structure) -> None:
    grouped = structure_of(
        LlamaConfig(
            num_hidden_layers=2,
            num_attention_heads=8,
            num_key_value_heads=4,
            hidden_size=16,
            intermediate_size=5,
        )
    )
    # of four heads, which are groups of their own, layer 0 loses two and layer 1 the best one
    plan = make_plan(structure, [[0, 2], [1, 2, 3]], scores={"kv_group": SCORES["head"]})
    own = {
        # single heads would be others
        "head": [[9, 1, 2, 2, 3, 3, 0, 20], [4, 4, 3, 3, 2, 2, 1, 1]],
        "kv_group": [[10, 4, 6, 20], [8, 6, 4, 2]],
    }
    moved = transfer(plan, grouped, own, whole_groups=True)
    assert moved.removed == {"head": ["L0H2", "L0H3", "L0H4", "L0H5", "L1H0", "L1H1"]}
    assert not any(moved.after.is_ragged(layer) for layer in range(2))
    again = transfer(_scored(moved, own), grouped, own, whole_groups=True)
    assert again.kept == moved.kept
    single = _scored(make_plan(grouped, [[1, 2, 3, 4, 5, 6, 7], range(8)]), own)
    with pytest.raises(UsageError, match="removes L0H0 and keeps other heads of its KV group"):
        transfer(single, grouped, own, whole_groups=True)


def _scored(plan: PruningPlan, scores: dict[str, list[list[float]]]) -> PruningPlan:
    return make_plan(plan.before, [layer.heads for layer in plan.kept], scores=scores)


def test_transfer_without_what_it_ranks_by_is_refused(structure: Structure) -> None:
    plan = make_plan(structure, [[0], [1]], scores=SCORES)
    with pytest.raises(UsageError, match="carries no scores for them"):
        transfer(make_plan(structure, [[0], [1]]), structure, SCORES)
    with pytest.raises(UsageError, match=r"scores of the target's heads per layer are \[\]"):
        transfer(plan, structure, {"neuron": [[1.0]]})
    with pytest.raises(UsageError, match=r"are \[4, 3\], it has \[4, 4\]"):
        transfer(plan, structure, {"head": [[1, 2, 3, 4], [1, 2, 3]]})
    with pytest.raises(UsageError, match="units of kind ffn"):
        transfer(make_plan(structure, without={"ffn": [0]}), structure, SCORES)
    sparse = make_plan(structure, weights={"x": WeightMask.of(np.eye(2, dtype=bool))})
    with pytest.raises(UsageError, match="units of kind weight"):
        transfer(sparse, structure, SCORES)
