"""Laws of choosing heads: exact counts, nesting, minimum per layer, determinism."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, strategies

from sentinel_research.models import heads_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import plan_heads
from sentinel_research.pruning.select import num_units, select
from sentinel_research.specs import PruneSpec

SCOPES = strategies.sampled_from(["local", "global"])
FRACTIONS = strategies.integers(0, 100).map(lambda percent: percent / 100)
# few distinct values, so that ties are common
SCORES = strategies.lists(
    strategies.lists(strategies.sampled_from([-1.0, 0.0, 0.5, 3.0]), max_size=9),
    min_size=1,
    max_size=5,
)


@given(percent=strategies.integers(0, 100), total=strategies.integers(0, 1000))
def test_number_of_units_is_the_exact_floor(percent: int, total: int) -> None:
    assert num_units(percent / 100, total) == percent * total // 100


def test_binary_rounding_does_not_lose_a_unit() -> None:
    assert int(0.29 * 100) == 28
    assert num_units(0.29, 100) == 29
    assert num_units(0.3, 10) == 3
    assert num_units(1 / 3, 3) == math.floor(Fraction(repr(1 / 3)) * 3)


@given(scores=SCORES, fraction=FRACTIONS, scope=SCOPES, least=strategies.integers(0, 4))
def test_counts_are_exact_and_the_minimum_is_kept(
    scores: list[list[float]], fraction: float, scope: str, least: int
) -> None:
    found = select(scores, fraction, scope=scope, min_per_layer=least)
    budgets = [num_units(fraction, len(values)) for values in scores]
    room = [max(0, len(values) - least) for values in scores]
    if scope == "local":
        expected = [min(budget, free) for budget, free in zip(budgets, room, strict=True)]
        assert [len(units) for units in found.removed] == expected
        assert found.num_requested == sum(budgets)
    else:
        assert found.num_requested == num_units(fraction, sum(map(len, scores)))
        assert found.num_removed == min(found.num_requested, sum(room))
    assert all(len(r) <= free for r, free in zip(found.removed, room, strict=True))
    assert found.shortfall == found.num_requested - found.num_removed >= 0


@given(scores=SCORES, low=FRACTIONS, high=FRACTIONS, scope=SCOPES, least=strategies.integers(0, 4))
def test_a_larger_fraction_contains_a_smaller_one(
    scores: list[list[float]], low: float, high: float, scope: str, least: int
) -> None:
    low, high = sorted((low, high))
    small = select(scores, low, scope=scope, min_per_layer=least)
    large = select(scores, high, scope=scope, min_per_layer=least)
    assert all(set(a) <= set(b) for a, b in zip(small.removed, large.removed, strict=True))


@given(scores=SCORES, fraction=FRACTIONS)
def test_removed_units_are_the_least_important_and_ties_go_by_index(
    scores: list[list[float]], fraction: float
) -> None:
    for values, removed in zip(scores, select(scores, fraction).removed, strict=True):
        ranked = sorted(range(len(values)), key=lambda unit: (values[unit], unit))
        assert sorted(ranked[: len(removed)]) == list(removed)


@given(scores=SCORES, fraction=FRACTIONS, scope=SCOPES, scale=strategies.sampled_from([0.5, 8.0]))
def test_selection_does_not_change_when_scores_are_rescaled(
    scores: list[list[float]], fraction: float, scope: str, scale: float
) -> None:
    scaled = [[scale * value for value in values] for values in scores]
    assert select(scaled, fraction, scope=scope) == select(scores, fraction, scope=scope)


@pytest.mark.parametrize("granularity", ["head", "kv_group"])
@given(low=FRACTIONS, high=FRACTIONS, scope=SCOPES)
def test_plans_of_a_scorer_nest(granularity: str, low: float, high: float, scope: str) -> None:
    model = tiny_model("llama")
    low, high = sorted((low, high))
    few, many = (
        plan_heads(
            model,
            PruneSpec(scorer="magnitude", fraction=f, scope=scope, granularity=granularity),
        ).plan
        for f in (low, high)
    )
    assert all(set(b) <= set(a) for a, b in zip(few.kept_heads, many.kept_heads, strict=True))
    if granularity == "kv_group":
        size = heads_of(model.config).group_size
        for kept in many.kept_heads:
            assert all({head // size * size + i for i in range(size)} <= set(kept) for head in kept)


@given(seed=strategies.integers(0, 2**31))
def test_random_plan_depends_on_the_seed_and_on_nothing_else(seed: int) -> None:
    spec = PruneSpec(scorer="random", fraction=0.5, seed=seed)
    plan = plan_heads(tiny_model("llama", seed=0), spec).plan
    assert plan_heads(tiny_model("llama", seed=1), spec).plan == plan
    other = plan_heads(tiny_model("llama"), spec.model_copy(update={"seed": seed + 1})).plan
    assert other.scores != plan.scores
