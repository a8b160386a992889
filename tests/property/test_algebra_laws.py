"""Laws of combining plans. Sets of units on one side, plans on the other; no model is built."""

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, strategies

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.pruning import PruningPlan, difference, make_plan, merge, transfer
from sentinel_research.structure import LayerParts, Structure
from tests.property.conftest import models, plan_of, plans

Gone = set[tuple[int, str, int]]


@strategies.composite
def structures(draw: strategies.DrawFn) -> Structure:
    """Of any family, dense or already pruned."""
    dense = structure_of(draw(models(draw(strategies.sampled_from(FAMILIES)))).config)
    return draw(plans(dense)).after if draw(strategies.booleans()) else dense


def _gone(plan: PruningPlan) -> Gone:
    """Everything that a plan removes; a block goes with all of its units."""
    return {
        (layer, kind, unit)
        for layer, (old, new) in enumerate(zip(plan.before.layers, plan.kept, strict=True))
        for kind in ("head", "neuron", "attention", "ffn")
        for unit in set(old.units(kind)) - set(new.units(kind))
    }


def _merged(first: PruningPlan, second: PruningPlan) -> PruningPlan:
    layers = zip(first.kept, second.kept, strict=True)
    assume(any(set(a.heads) & set(b.heads) or set(a.neurons) & set(b.neurons) for a, b in layers))
    return merge(first, second)


@given(data=strategies.data())
def test_merge_removes_what_either_plan_removes(data: strategies.DataObject) -> None:
    structure = data.draw(structures())
    a, b, c = (data.draw(plans(structure)) for _ in range(3))
    both = _merged(a, b)
    assert _gone(both) == _gone(a) | _gone(b)
    assert both.before == structure
    assert merge(b, a).kept == both.kept
    assert merge(a, a).kept == a.kept
    assert merge(a, make_plan(structure)).kept == a.kept
    assert _merged(both, c).kept == merge(a, _merged(b, c)).kept
    assert both.scores is None


@given(data=strategies.data())
def test_difference_puts_back_what_the_other_plan_removes(data: strategies.DataObject) -> None:
    structure = data.draw(structures())
    a, b = data.draw(plans(structure)), data.draw(plans(structure))
    left = difference(a, b)
    assert _gone(left) <= _gone(a)
    whole = {"attention": "head", "ffn": "neuron"}
    # a block that goes takes its units along, also those that the other plan removes
    blocks = {(layer, whole[kind]) for layer, kind, _ in _gone(left) if kind in whole}
    expected = {
        (layer, kind, unit)
        for layer, kind, unit in _gone(a)
        if (layer, kind, unit) not in _gone(b) or (layer, kind) in blocks
    }
    assert _gone(left) == expected
    assert difference(a, a).is_identity
    assert difference(a, make_plan(structure)).kept == a.kept
    assert difference(make_plan(structure), a).is_identity
    # the two together do what both plans do
    expected_kept = _merged(a, b).kept
    assert merge(left, b).kept == expected_kept


@given(data=strategies.data())
def test_parameters_of_a_merge_are_between_the_larger_and_the_sum(
    data: strategies.DataObject,
) -> None:
    """Equality at the sum needs plans that share nothing, KV heads included: merging costs more
    than the sum only where the last query heads of a group go together."""
    structure = data.draw(structures())
    a, b = (data.draw(plans(structure, whole_groups=True)) for _ in range(2))
    both = _merged(a, b)
    counts = a.parameters_removed, b.parameters_removed
    assert max(counts) <= both.parameters_removed <= sum(counts)


@given(data=strategies.data())
def test_plans_for_different_models_do_not_combine(data: strategies.DataObject) -> None:
    structure = data.draw(structures())
    a = data.draw(plans(structure))
    assume(not a.is_identity)
    b = data.draw(plans(a.after))
    for combine in (merge, difference):
        with pytest.raises(UsageError, match="plans for different models"):
            combine(a, b)


def _scores(data: strategies.DataObject, structure: Structure) -> dict[str, list[list[float]]]:
    random = data.draw(strategies.randoms(use_true_random=False))
    return {
        kind: [[random.random() for _ in range(n)] for n in structure.num_units(kind)]
        for kind in ("head", "neuron")
    }


@given(data=strategies.data())
def test_plan_transferred_to_its_own_model_is_the_plan(data: strategies.DataObject) -> None:
    structure = data.draw(structures())
    scores = _scores(data, structure)
    plan = data.draw(plans(structure, blocks=False))
    plan = plan_of(structure, plan.kept, scores=scores)
    assert transfer(plan, structure, scores).kept == plan.kept


def _share_gone(plan: PruningPlan, kind: str, layer: int, num_layers: int) -> Fraction:
    """Of what lies at the depth of a target layer; layers without such units do not count."""
    had, left = plan.before.num_units(kind), plan.after.num_units(kind)
    lost, weight = Fraction(), Fraction()
    for source, (before, after) in enumerate(zip(had, left, strict=True)):
        # [layer, layer + 1] / num_layers and [source, source + 1] / plan.num_layers
        low = max(layer * plan.num_layers, source * num_layers)
        high = min((layer + 1) * plan.num_layers, (source + 1) * num_layers)
        if before and high > low:
            lost += Fraction((high - low) * (before - after), before)
            weight += high - low
    return lost / weight if weight else Fraction()


@given(data=strategies.data())
def test_transferred_plan_takes_the_same_share_at_the_same_depth(
    data: strategies.DataObject,
) -> None:
    source, target = data.draw(structures()), data.draw(structures())
    scores, own = _scores(data, source), _scores(data, target)
    plan = data.draw(plans(source, blocks=False))
    plan = plan_of(source, plan.kept, scores=scores)
    wanted = {
        kind: [
            count * _share_gone(plan, kind, layer, target.num_layers)
            for layer, count in enumerate(target.num_units(kind))
        ]
        for kind in ("head", "neuron")
    }
    if all(sum(wanted[kind]) == sum(target.num_units(kind)) for kind in wanted):
        with pytest.raises(UsageError, match="removes everything"):
            transfer(plan, target, own)
        return
    moved = transfer(plan, target, own)
    assert moved.before == target
    for kind, shares in wanted.items():
        before, after = (s.num_units(kind) for s in (target, moved.after))
        gone = [a - b for a, b in zip(before, after, strict=True)]
        # whole units in every layer, and together the largest whole number that fits
        assert all(abs(count - share) < 1 for count, share in zip(gone, shares, strict=True))
        assert sum(gone) == math.floor(sum(shares))


@given(data=strategies.data())
def test_transfer_of_the_least_important_units_removes_the_least_important_ones(
    data: strategies.DataObject,
) -> None:
    source, target = data.draw(structures()), data.draw(structures())
    scores, own = _scores(data, source), _scores(data, target)
    layers = []
    for index, layer in enumerate(source.layers):
        kept = {}
        for kind in ("head", "neuron"):
            units, values = layer.units(kind), scores[kind][index]
            order = sorted(range(len(units)), key=lambda local, values=values: values[local])
            keep = sorted(units[i] for i in order[len(units) // 2 :])
            kept[f"{kind}s"] = tuple(keep)
        layers.append(LayerParts(**{**dict(layer), **kept}))
    moved = transfer(plan_of(source, layers, scores=scores), target, own)
    for kind in ("head", "neuron"):
        for index, (old, new) in enumerate(zip(target.layers, moved.kept, strict=True)):
            values = dict(zip(old.units(kind), own[kind][index], strict=True))
            stays = [values[unit] for unit in new.units(kind)]
            goes = [values[unit] for unit in set(values) - set(new.units(kind))]
            assert not goes or not stays or max(goes) <= min(stays)
