"""Choosing units: small examples with their answers written out."""

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.pruning.select import Cost, normalised, select

HEADS = {"head": [[3.0, 1.0, 2.0, 4.0], [0.5, 6.0, 7.0, 8.0]]}


def test_local_takes_the_share_of_every_layer() -> None:
    found = select(HEADS, 0.5)
    assert found.removed == {"head": ((1, 2), (0, 1))}
    assert (found.requested, found.achieved, found.shortfall) == (4, 4, 0)


def test_global_takes_the_share_of_all_layers_together() -> None:
    found = select(HEADS, 0.5, scope="global")
    assert found.removed == {"head": ((0, 1, 2), (0,))}
    assert found.num_removed == 4


def test_the_last_units_of_a_layer_stay_and_others_go_in_their_place() -> None:
    found = select(HEADS, 0.75, scope="global", min_per_layer=2)
    assert found.removed == {"head": ((1, 2), (0, 1))}
    assert (found.requested, found.achieved, found.shortfall) == (6, 4, 2)
    assert select(HEADS, 0.75, scope="global", min_per_layer=1).removed == {
        "head": ((0, 1, 2), (0, 1, 2))
    }


def test_several_kinds_are_ranked_together_in_global_scope_and_apart_in_local() -> None:
    scores = {"head": [[1.0, 9.0]], "neuron": [[2.0, 3.0, 4.0, 5.0]]}
    assert select(scores, 0.5, scope="global").removed == {"head": ((0,),), "neuron": ((0, 1),)}
    assert select(scores, 0.5).removed == {"head": ((0,),), "neuron": ((0, 1),)}
    large = {"head": [[10.0, 90.0]], "neuron": scores["neuron"]}
    # the minimum keeps one neuron
    assert select(large, 0.5, scope="global").removed == {"head": ((),), "neuron": ((0, 1, 2),)}
    assert select(large, 0.5).removed == {"head": ((0,),), "neuron": ((0, 1),)}


def test_blocks_are_ranked_together_in_either_scope_and_have_no_minimum() -> None:
    scores = {"attention": [[1.0], [5.0], [3.0]], "ffn": [[2.0], [4.0], [6.0]]}
    for scope in ("local", "global"):
        found = select(scores, 0.5, scope=scope, min_per_layer=1)
        assert found.removed == {"attention": ((0,), (), (0,)), "ffn": ((0,), (), ())}
    assert select({"layer": [[1.0], [], [0.0]]}, 0.5).removed == {"layer": ((), (), (0,))}


def test_ties_go_by_kind_as_given_then_layer_then_index() -> None:
    def tied(*kinds: str) -> dict[str, list[list[float]]]:
        return {kind: [[1.0, 1.0], [1.0, 1.0]] for kind in kinds}

    options = {"scope": "global", "min_per_layer": 0}
    assert select(tied("head", "neuron"), 0.38, **options).removed == {
        "head": ((0, 1), (0,)),
        "neuron": ((), ()),
    }
    assert select(tied("neuron", "head"), 0.63, **options).removed == {
        "neuron": ((0, 1), (0, 1)),
        "head": ((0,), ()),
    }


def _cost(**prices: float) -> Cost:
    return Cost(
        lambda unit: prices[unit.kind],
        lambda chosen: sum(
            prices[k] * len(units) for k, layers in chosen.items() for units in layers
        ),
    )


def test_budget_ranks_by_importance_per_cost() -> None:
    scores = {"head": [[6.0, 60.0]], "neuron": [[1.0, 2.0, 3.0]]}
    # a head saves as much as ten neurons: 0.6 and 6 against 1, 2 and 3
    found = select(scores, 0.5, scope="global", cost=_cost(head=10, neuron=1), min_per_layer=0)
    assert found.removed == {"head": ((0,),), "neuron": ((0,),)}
    assert (found.requested, found.achieved, found.shortfall) == (11.5, 11, 0.5)


def test_unit_whose_removal_helps_goes_before_a_cheaper_one_that_helps_less() -> None:
    scores = {
        "head": [[-10.0] + [5.0] * 4] + [[5.0] * 5] * 2,
        "neuron": [[-1.0] + [5.0] * 36] + [[5.0] * 37] * 2,
    }
    cost = _cost(head=738, neuron=61)
    total = 15 * 738 + 111 * 61
    # -10 / 738 is more than -1 / 61, but costs are no excuse for what does harm
    for bought, expected in ((738, [1, 0]), (738 + 61, [1, 1]), (738 + 60, [1, 0]), (61, [0, 0])):
        found = select(scores, bought / total, scope="global", cost=cost)
        assert [len(found.removed[kind][0]) for kind in scores] == expected
        assert found.num_removed == sum(expected)


def test_units_that_help_alike_go_by_kind_layer_and_index_whatever_they_save() -> None:
    scores = {"head": [[0.0, -1.0], [-1.0]], "neuron": [[-2.0, -1.0]]}
    cost = _cost(head=1, neuron=5)
    order = []
    for spent in (5, 6, 7, 12, 13):
        found = select(scores, spent / 13, scope="global", cost=cost, min_per_layer=0)
        order.append(found.removed)
    assert order == [
        {"head": ((), ()), "neuron": ((0,),)},
        {"head": ((1,), ()), "neuron": ((0,),)},
        {"head": ((1,), (0,)), "neuron": ((0,),)},
        {"head": ((1,), (0,)), "neuron": ((0, 1),)},
        {"head": ((0, 1), (0,)), "neuron": ((0, 1),)},
    ]


def test_budget_stops_before_the_first_unit_that_is_too_dear() -> None:
    scores = {"head": [[1.0]], "neuron": [[1.0, 1.0]]}
    found = select(scores, 0.5, scope="global", cost=_cost(head=8, neuron=1), min_per_layer=0)
    # 5 of 10 do not buy the head, which is the first to go
    assert found.num_removed == found.achieved == 0
    assert found.shortfall == 5


def test_budget_that_is_met_exactly_is_not_missed_by_the_last_bit() -> None:
    scores = {"neuron": [[1.0] * 10]}
    # 0.3 * 10 * 0.1 is 0.30000000000000004, and three times 0.1 too
    for tenths in range(11):
        found = select(scores, tenths / 10, cost=_cost(neuron=0.1), min_per_layer=0)
        assert found.num_removed == tenths


def test_unit_that_saves_nothing_goes_last() -> None:
    scores = {"ffn": [[1.0], [9.0]]}
    prices = {0: 0.0, 1: 5.0}
    cost = Cost(
        lambda unit: prices[unit.layer],
        lambda chosen: sum(prices[layer] for layer, units in enumerate(chosen["ffn"]) if units),
    )
    assert select(scores, 0.99, cost=cost).num_removed == 0
    assert select(scores, 1.0, cost=cost).removed == {"ffn": ((0,), (0,))}


def test_layers_are_divided_by_their_own_norm() -> None:
    scores = {"head": [[3.0, 4.0], [0.0, 0.0], []], "neuron": [[0.0, -2.0], [8.0], [1.0]]}
    assert normalised(scores) == {
        "head": [[0.6, 0.8], [0.0, 0.0], []],
        "neuron": [[0.0, -1.0], [1.0], [1.0]],
    }


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_share_outside_zero_and_one_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"is not in \[0, 1\]"):
        select(HEADS, fraction)


def test_model_without_units_of_a_kind_has_nothing_to_choose() -> None:
    found = select({"head": [[], []], "ffn": [[], []]}, 1.0, scope="global")
    assert found.removed == {"head": ((), ()), "ffn": ((), ())}
    assert found.num_removed == found.requested == 0
