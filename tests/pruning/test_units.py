"""From kinds of unit to parts of a plan: members, scores, what stays, and what it costs."""

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from sentinel_research.models import structure_of
from sentinel_research.pruning import make_plan
from sentinel_research.pruning.select import Unit
from sentinel_research.pruning.units import (
    add_up_heads,
    budget_cost,
    kept_parts,
    owners,
    removed_units,
)
from sentinel_research.structure import LayerParts, Structure

FULL = tuple(range(5))


@pytest.fixture
def ragged() -> Structure:
    """Layer 0 has groups 0 and 2 of four, with one and two heads; layer 1 has none."""
    config = LlamaConfig(
        hidden_size=16,
        num_attention_heads=8,
        num_key_value_heads=4,
        num_hidden_layers=2,
        intermediate_size=5,
    )
    return make_plan(structure_of(config), [[1, 4, 5], []]).after


def _owners(structure: Structure, kind: str, layer: int) -> dict[str, list[int]]:
    return {part: found.tolist() for part, found in owners(structure, kind, layer).items()}


def test_every_part_knows_its_unit_by_local_index(ragged: Structure) -> None:
    assert _owners(ragged, "kv_group", 0) == {"head": [0, 1, 1]}
    assert _owners(ragged, "kv_group", 1) == {"head": []}
    assert _owners(ragged, "head", 0) == {"head": [0, 1, 2]}
    assert _owners(ragged, "neuron", 1) == {"neuron": list(range(5))}
    assert _owners(ragged, "layer", 1) == {"attention": [0], "ffn": [0]}
    halved = ragged.reduced_to(kept_parts(ragged, {"ffn": [[0], []]}))
    assert _owners(halved, "layer", 0) == {"attention": [0], "ffn": []}


def test_values_of_heads_add_up_over_their_group(ragged: Structure) -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [0.5, 0.0, -3.0]], dtype=torch.float64)
    assert add_up_heads(ragged, "kv_group", 0, values).tolist() == [[1.0, 6.0], [0.5, -3.0]]
    assert torch.equal(add_up_heads(ragged, "head", 0, values), values)
    assert add_up_heads(ragged, "kv_group", 1, values[:, :0]).shape == (2, 0)


def test_units_of_all_kinds_go_together(ragged: Structure) -> None:
    kept = kept_parts(ragged, {"kv_group": [[1], []], "neuron": [[0, 4], []], "ffn": [[], [0]]})
    assert kept == (
        LayerParts(heads=(1,), neurons=(1, 2, 3)),
        LayerParts(heads=(), neurons=(), has_ffn=False),
    )
    assert kept_parts(ragged, {"head": [[1], []], "layer": [[], [0]]}) == (
        LayerParts(heads=(1, 5), neurons=FULL),
        LayerParts(heads=(), neurons=(), has_attention=False, has_ffn=False),
    )
    assert kept_parts(ragged, {}) == ragged.layers


def test_removed_units_are_those_of_which_nothing_stays(ragged: Structure) -> None:
    kinds = ("head", "kv_group", "neuron", "attention", "ffn", "layer")
    given = {"head": [[1], []], "neuron": [[0, 4], []], "ffn": [[], [0]]}
    found = removed_units(ragged, kinds, kept_parts(ragged, given))
    # one of the two heads of group 1 is left, and the attention of layer 1
    nothing: tuple[tuple[int, ...], ...] = ((), ())
    assert found == {
        "head": ((1,), ()),
        "kv_group": nothing,
        "neuron": ((0, 4), (0, 1, 2, 3, 4)),
        "attention": nothing,
        "ffn": ((), (0,)),
        "layer": nothing,
    }
    whole = kept_parts(ragged, {"kv_group": [[0], []], "layer": [[], [0]]})
    assert removed_units(ragged, ("kv_group", "layer"), whole) == {
        "kv_group": ((0,), ()),
        "layer": ((), (0,)),
    }


def test_block_takes_units_that_were_chosen_beside_it_along(ragged: Structure) -> None:
    kept = kept_parts(ragged, {"attention": [[0], []], "head": [[0], []]})
    assert kept[0] == LayerParts(heads=(), neurons=FULL, has_attention=False)


def test_whole_units_are_free() -> None:
    structure = structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=12))
    assert budget_cost(structure, "units", 9) is None


@pytest.mark.parametrize("budget", ["parameters", "flops"])
def test_cost_of_several_units_is_what_the_structure_loses(ragged: Structure, budget: str) -> None:
    cost = budget_cost(ragged, budget, 9)
    for chosen in (
        {"head": [[0], []]},
        {"head": [[1], []]},
        {"kv_group": [[1], []], "neuron": [[0], [3, 4]]},
        {"layer": [[], [0]], "attention": [[0], []]},
    ):
        left = ragged.reduced_to(kept_parts(ragged, chosen))
        if budget == "parameters":
            expected = ragged.num_parameters() - left.num_parameters()
        else:
            expected = ragged.flops_per_token(9) - left.flops_per_token(9)
        assert cost.of_all(chosen) == expected > 0


def test_key_value_head_is_spread_over_the_query_heads_that_share_it(ragged: Structure) -> None:
    cost = budget_cost(ragged, "parameters", 9)
    width, hidden = 2, 16
    query, group = 2 * hidden * width, 2 * hidden * width
    # three heads in two groups
    assert cost.of_unit(Unit("head", 0, 0)) == (3 * query + 2 * group) / 3
    assert cost.of_unit(Unit("kv_group", 0, 0)) == (3 * query + 2 * group) / 2
    assert cost.of_unit(Unit("neuron", 1, 2)) == 3 * hidden
    # nothing but its norm is left of an emptied block
    assert cost.of_unit(Unit("attention", 1, 0)) == hidden


def test_longer_sequences_make_heads_dearer_and_neurons_no_dearer(ragged: Structure) -> None:
    short, long = (budget_cost(ragged, "flops", length) for length in (1, 100))
    head, neuron = Unit("head", 0, 0), Unit("neuron", 0, 0)
    assert long.of_unit(head) - short.of_unit(head) == 4 * 2 * 99
    assert long.of_unit(neuron) == short.of_unit(neuron)
