"""Laws of choosing units: exact counts, budgets, nesting, minimum per layer, determinism."""

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, strategies

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.pruning.select import (
    BLOCKS,
    Cost,
    Selection,
    Unit,
    normalised,
    num_units,
    select,
)
from sentinel_research.pruning.units import budget_cost, kept_parts
from sentinel_research.structure import Structure
from tests.property.conftest import FRACTIONS, SCOPES, models, plan_of, plans

Scores = dict[str, list[list[float]]]
LEAST = strategies.integers(0, 4)
# few distinct values, so that ties are common
VALUES = strategies.sampled_from([-1.0, 0.0, 0.5, 3.0])
KINDS = [("head",), ("neuron",), ("neuron", "head"), ("attention", "ffn"), ("head", "layer"),
         ("kv_group", "neuron"), ("ffn", "head")]  # fmt: skip


@strategies.composite
def scores_of(draw: strategies.DrawFn) -> Scores:
    """Scores of one or several kinds, blocks among them, over the same layers."""
    layers = draw(strategies.integers(1, 4))
    return {
        kind: [
            draw(strategies.lists(VALUES, max_size=1 if kind in BLOCKS else 9))
            for _ in range(layers)
        ]
        for kind in draw(strategies.sampled_from(KINDS))
    }


def _units(selection: Selection) -> set[Unit]:
    return {
        Unit(kind, layer, local)
        for kind, layers in selection.removed.items()
        for layer, units in enumerate(layers)
        for local in units
    }


def _pools(scores: Scores, scope: str) -> list[list[Unit]]:
    """Units that a share is taken of together, kinds in the order given."""
    every = [
        Unit(kind, layer, local)
        for kind, layers in scores.items()
        for layer, values in enumerate(layers)
        for local in range(len(values))
    ]
    if scope == "global":
        return [every]
    pools: dict[object, list[Unit]] = {}
    for unit in every:
        place = "blocks" if unit.kind in BLOCKS else (unit.kind, unit.layer)
        pools.setdefault(place, []).append(unit)
    return list(pools.values())


def _order(pool: list[Unit], scores: Scores, least: int, cost: Cost | None = None) -> list[Unit]:
    """The slow form: the least important first, without those that the minimum protects."""

    def importance(unit: Unit) -> tuple[bool, float]:
        value = scores[unit.kind][unit.layer][unit.local]
        if value < 0:
            # its removal helps by itself, whatever it saves
            return False, value
        saved = cost.of_unit(unit) if cost else 1.0
        # a block that is already empty saves nothing: it goes last
        return True, value / saved if saved else math.inf

    # `pool` lists kinds, layers and indices in order, and sorting is stable
    ranked = sorted(pool, key=importance)
    return [
        unit
        for place, unit in enumerate(ranked)
        if unit.kind in BLOCKS or sum(other[:2] == unit[:2] for other in ranked[place:]) > least
    ]


@given(percent=strategies.integers(0, 100), total=strategies.integers(0, 1000))
def test_number_of_units_is_the_exact_floor(percent: int, total: int) -> None:
    assert num_units(percent / 100, total) == percent * total // 100


def test_binary_rounding_does_not_lose_a_unit() -> None:
    assert int(0.29 * 100) == 28
    assert num_units(0.29, 100) == 29
    assert num_units(0.3, 10) == 3
    assert num_units(1 / 3, 3) == math.floor(Fraction(repr(1 / 3)) * 3)


@given(scores=scores_of(), fraction=FRACTIONS, scope=SCOPES, least=LEAST)
def test_exactly_the_least_important_go_and_ties_go_by_kind_layer_and_index(
    scores: Scores, fraction: float, scope: str, least: int
) -> None:
    expected: set[Unit] = set()
    requested = 0
    for pool in _pools(scores, scope):
        wanted = num_units(fraction, len(pool))
        requested += wanted
        expected |= set(_order(pool, scores, least)[:wanted])
    found = select(scores, fraction, scope=scope, min_per_layer=least)
    assert _units(found) == expected
    assert found.requested == requested
    assert found.achieved == found.num_removed == len(expected)
    assert found.shortfall == requested - len(expected) >= 0
    for kind, layers in found.removed.items():
        for units, values in zip(layers, scores[kind], strict=True):
            assert list(units) == sorted(set(units))
            assert kind in BLOCKS or len(values) - len(units) >= min(least, len(values))


@given(scores=scores_of(), low=FRACTIONS, high=FRACTIONS, scope=SCOPES, least=LEAST)
def test_a_larger_fraction_contains_a_smaller_one(
    scores: Scores, low: float, high: float, scope: str, least: int
) -> None:
    low, high = sorted((low, high))
    small = select(scores, low, scope=scope, min_per_layer=least)
    large = select(scores, high, scope=scope, min_per_layer=least)
    assert _units(small) <= _units(large)


@given(data=strategies.data(), low=FRACTIONS, high=FRACTIONS, scope=SCOPES, least=LEAST)
def test_what_went_before_leaves_first_whatever_the_scores_say_now(
    data: strategies.DataObject, low: float, high: float, scope: str, least: int
) -> None:
    low, high = sorted((low, high))
    before = data.draw(scores_of())
    now = {
        kind: [[data.draw(VALUES) for _ in layer] for layer in layers]
        for kind, layers in before.items()
    }
    small = select(before, low, scope=scope, min_per_layer=least)
    large = select(now, high, scope=scope, min_per_layer=least, first=small.removed)
    assert _units(small) <= _units(large)
    # and as many go as without any history
    assert large.achieved == select(now, high, scope=scope, min_per_layer=least).achieved


@given(
    scores=scores_of(), fraction=FRACTIONS, scope=SCOPES, scale=strategies.sampled_from([0.5, 8.0])
)
def test_selection_does_not_change_when_scores_are_rescaled(
    scores: Scores, fraction: float, scope: str, scale: float
) -> None:
    # powers of two change no digit
    scaled = {k: [[scale * v for v in layer] for layer in layers] for k, layers in scores.items()}
    assert select(scaled, fraction, scope=scope) == select(scores, fraction, scope=scope)


@given(scores=scores_of(), fraction=FRACTIONS, data=strategies.data())
def test_layers_normalised_by_themselves_may_have_any_scale(
    scores: Scores, fraction: float, data: strategies.DataObject
) -> None:
    scales = strategies.sampled_from([0.25, 1.0, 64.0])
    scaled = {
        kind: [[scale * v for v in layer] for layer, scale in
               ((layer, data.draw(scales)) for layer in layers)]
        for kind, layers in scores.items()
    }  # fmt: skip
    one, other = (select(normalised(s), fraction, scope="global") for s in (scores, scaled))
    assert one == other
    for layers in normalised(scores).values():
        for layer in layers:
            # rounding of a root and of divisions
            assert not any(layer) or math.hypot(*layer) == pytest.approx(1, rel=1e-12)


@given(
    scores=scores_of(),
    value=strategies.sampled_from([math.nan, math.inf, -math.inf]),
    data=strategies.data(),
)
def test_score_that_is_not_finite_is_refused_and_named(
    scores: Scores, value: float, data: strategies.DataObject
) -> None:
    pool = _pools(scores, "global")[0]
    assume(pool)
    bad = data.draw(strategies.sampled_from(pool))
    scores[bad.kind][bad.layer][bad.local] = value
    with pytest.raises(
        UsageError, match=f"score of {bad.kind} {bad.local} in layer {bad.layer} is"
    ):
        select(scores, 0.5)


@strategies.composite
def budgets(draw: strategies.DrawFn) -> tuple[Structure, Scores, Cost]:
    """A dense or pruned structure, scores of some kinds of its units, and what they cost."""
    structure = structure_of(draw(models(draw(strategies.sampled_from(FAMILIES)))).config)
    if draw(strategies.booleans()):
        structure = draw(plans(structure)).after
    random = draw(strategies.randoms(use_true_random=False))
    scores = {}
    for kind in draw(strategies.sampled_from(KINDS)):
        scores[kind] = [
            [random.choice([-1.0, -random.random(), 0.5, 1.0, random.random()]) for _ in range(n)]
            for n in structure.num_units(kind)
        ]
    name = draw(strategies.sampled_from(["parameters", "flops"]))
    cost = budget_cost(structure, name, 7)
    assert cost is not None
    return structure, scores, cost


def _chosen(units: list[Unit], scores: Scores) -> dict[str, list[list[int]]]:
    return {
        kind: [[u.local for u in units if u[:2] == (kind, layer)] for layer in range(len(layers))]
        for kind, layers in scores.items()
    }


@given(budget=budgets(), fraction=FRACTIONS, scope=SCOPES, least=LEAST)
def test_budget_is_met_from_below_within_one_unit(
    budget: tuple[Structure, Scores, Cost], fraction: float, scope: str, least: int
) -> None:
    _, scores, cost = budget
    found = select(scores, fraction, scope=scope, min_per_layer=least, cost=cost)
    chosen, requested, achieved = _units(found), 0.0, 0.0
    for pool in _pools(scores, scope):
        target = fraction * cost.of_all(_chosen(pool, scores))
        order = _order(pool, scores, least, cost)
        mine = [unit for unit in order if unit in chosen]
        spent = cost.of_all(_chosen(mine, scores))
        # the first ones go, and one more would be too much
        assert mine == order[: len(mine)]
        # a cost of exactly the target is affordable, whatever its last bit
        assert spent <= target * (1 + 1e-12)
        if len(mine) < len(order):
            assert cost.of_all(_chosen(order[: len(mine) + 1], scores)) > target * (1 + 1e-12)
        requested, achieved = requested + target, achieved + spent
    assert found.requested == pytest.approx(requested, rel=1e-12)
    assert found.achieved == achieved


@given(budget=budgets(), fraction=FRACTIONS)
def test_what_is_better_gone_goes_before_anything_else_and_the_worst_first(
    budget: tuple[Structure, Scores, Cost], fraction: float
) -> None:
    _, scores, cost = budget
    found = select(scores, fraction, scope="global", min_per_layer=0, cost=cost)
    gone, every = _units(found), set(_pools(scores, "global")[0])
    value = {unit: scores[unit.kind][unit.layer][unit.local] for unit in every}
    harmful = {unit for unit in every if value[unit] < 0}
    assert harmful <= gone or gone <= harmful
    stays = [value[unit] for unit in harmful - gone]
    goes = [value[unit] for unit in harmful & gone]
    assert not stays or not goes or max(goes) <= min(stays)


@given(budget=budgets(), low=FRACTIONS, high=FRACTIONS, scope=SCOPES, least=LEAST)
def test_a_larger_budget_contains_a_smaller_one(
    budget: tuple[Structure, Scores, Cost], low: float, high: float, scope: str, least: int
) -> None:
    _, scores, cost = budget
    few, many = (
        select(scores, fraction, scope=scope, min_per_layer=least, cost=cost)
        for fraction in sorted((low, high))
    )
    assert _units(few) <= _units(many)
    assert few.achieved <= many.achieved


@given(budget=budgets(), fraction=FRACTIONS)
def test_cost_of_a_selection_is_what_its_plan_removes(
    budget: tuple[Structure, Scores, Cost], fraction: float
) -> None:
    structure, scores, cost = budget
    found = select(scores, fraction, scope="global", min_per_layer=1, cost=cost)
    kept = kept_parts(structure, found.removed)
    assume(any(layer.heads or layer.neurons for layer in kept))
    plan = plan_of(structure, kept)
    assert found.achieved in (plan.parameters_removed, plan.flops_removed(7))
