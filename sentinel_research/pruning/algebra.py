"""Combine plans: both at once, what only one does, and the same on another model."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

from sentinel_research.errors import UsageError
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.units import kept_parts
from sentinel_research.structure import LayerParts, Structure, label

UnitScores = Mapping[str, Sequence[Sequence[float]]]


def merge(first: PruningPlan, second: PruningPlan) -> PruningPlan:
    """The plan that removes what either plan removes.

    Args:
        first: A plan.
        second: A plan for the same model.

    Returns:
        The union; its origin is `merge of A and B`, without scores.

    Raises:
        UsageError: if the plans are for different models, or everything would go.
    """
    return _combined(first, second, "merge", lambda a, b, _: a & b, lambda a, b, _: a and b)


def difference(first: PruningPlan, second: PruningPlan) -> PruningPlan:
    """The plan that removes what `first` removes and `second` does not.

    Args:
        first: A plan.
        second: A plan for the same model.

    Returns:
        The difference, without scores.

    Raises:
        UsageError: if the plans are for different models.
    """
    return _combined(
        first,
        second,
        "difference",
        lambda a, b, present: a | (present - b),
        lambda a, b, present: a or (present and not b),
    )


def _combined(
    first: PruningPlan,
    second: PruningPlan,
    verb: str,
    units: Callable[[set[int], set[int], set[int]], set[int]],
    blocks: Callable[[bool, bool, bool], bool],
) -> PruningPlan:
    if first.before != second.before:
        raise UsageError(
            f"cannot form the {verb} of plans for different models",
            "Both plans must be made for the same model; `transfer` moves a plan to another one.",
        )
    if first.weights or second.weights:
        raise UsageError(
            f"cannot form the {verb} of plans that set single weights to zero",
            "Apply them one after the other.",
        )
    kept = [
        _layer(*layers, units, blocks)
        for layers in zip(first.kept, second.kept, first.before.layers, strict=True)
    ]
    return _plan(first.before, kept, f"{verb} of {first.scorer} and {second.scorer}")


def _layer(
    a: LayerParts,
    b: LayerParts,
    present: LayerParts,
    units: Callable[[set[int], set[int], set[int]], set[int]],
    blocks: Callable[[bool, bool, bool], bool],
) -> LayerParts:
    has_attention = blocks(a.has_attention, b.has_attention, present.has_attention)
    has_ffn = blocks(a.has_ffn, b.has_ffn, present.has_ffn)
    heads = units(set(a.heads), set(b.heads), set(present.heads)) if has_attention else set()
    neurons = units(set(a.neurons), set(b.neurons), set(present.neurons)) if has_ffn else set()
    return LayerParts(
        heads=tuple(sorted(heads)),
        neurons=tuple(sorted(neurons)),
        has_attention=has_attention,
        has_ffn=has_ffn,
    )


def transfer(
    plan: PruningPlan,
    structure: Structure,
    scores: UnitScores,
    *,
    whole_groups: bool = False,
    min_per_layer: int = 0,
) -> PruningPlan:
    """The same pruning on another model, by relative depth and rank.

    A layer of the target takes the share that the layers at the same relative depth of the plan's
    model lose, at the same relative ranks: the plan's scores rank its units, the target's scores
    rank the target's. As large a share goes in all as in the plan, rounded down to whole units;
    what a layer's minimum keeps is not taken elsewhere. Indices carry no meaning from one model to
    another.

    Args:
        plan: With scores for the kinds that it removes (heads or KV groups, neurons).
        structure: Of the target model, of any family.
        scores: Importance of the target's units per kind and layer, higher stays.
        whole_groups: True moves shares of KV groups, by the scores of groups, and not of heads.
        min_per_layer: Heads (or groups) and neurons that stay in every layer.

    Returns:
        A plan for the target; its origin is `transfer of SCORER`.

    Raises:
        UsageError: if the plan has no scores for a kind that it removes, the target's scores are
            missing, or the plan removes blocks or single weights, or parts of groups that are to
            be moved whole.
    """
    unsupported = sorted({"attention", "ffn", "weight"} & set(plan.num_removed))
    if unsupported:
        raise UsageError(
            f"cannot transfer a plan that removes units of kind {', '.join(unsupported)}",
            "Heads and neurons have ranks inside a layer; these have not.",
        )
    kept: dict[str, list[tuple[int, ...]]] = {}
    bases: tuple[Literal["head", "neuron"], ...] = ("head", "neuron")
    for base in bases:
        present = [layer.units(base) for layer in structure.layers]
        if not plan.num_removed.get(base):
            kept[base] = present
            continue
        kind: Literal["head", "kv_group", "neuron"] = base
        if whole_groups and base == "head":
            kind = "kv_group"
        _require_scores(plan, scores, kind, structure.num_units(kind))
        gone = _gone(plan, kind, scores[kind], min_per_layer)
        parts = kept_parts(structure, {kind: gone})
        kept[base] = [layer.units(base) for layer in parts]
    return make_plan(
        structure, kept["head"], neurons=kept["neuron"], scorer=f"transfer of {plan.scorer}"
    )


def _require_scores(
    plan: PruningPlan, scores: UnitScores, kind: str, counts: Sequence[int]
) -> None:
    if kind not in (plan.scores or {}):
        raise UsageError(
            f"the plan removes units of kind {kind} and carries no scores for them",
            "Transfer goes by rank: use a plan for which a scorer ranked heads or neurons.",
        )
    found = [len(layer) for layer in scores.get(kind, [])]
    if found != list(counts):
        raise UsageError(
            f"scores of the target's {kind}s per layer are {found}, it has {list(counts)}",
            "Score the target first: score_units(model, spec).values",
        )


def _gone(
    plan: PruningPlan, kind: str, scores: Sequence[Sequence[float]], min_per_layer: int
) -> list[list[int]]:
    """Local indices of the target's units that go, per layer."""
    ranks = [_gone_by_rank(plan, kind, layer) for layer in range(plan.num_layers)]
    density = [
        _density(ranks, layer, len(scores), len(values)) for layer, values in enumerate(scores)
    ]
    counts = _whole([sum(places, Fraction()) for places in density])
    return [
        _at_densest(values, places, min(count, max(0, len(values) - min_per_layer)))
        for values, places, count in zip(scores, density, counts, strict=True)
    ]


def _density(
    ranks: Sequence[Sequence[int]], layer: int, num_layers: int, count: int
) -> list[Fraction]:
    """For each rank of a target layer, lowest first, how much of it goes in the source, 0 to 1."""
    total, weight = [Fraction()] * count, Fraction()
    for source, gone in enumerate(ranks):
        start = max(Fraction(layer, num_layers), Fraction(source, len(ranks)))
        stop = min(Fraction(layer + 1, num_layers), Fraction(source + 1, len(ranks)))
        if stop <= start or not gone or not count:
            continue
        # share of the source's ranks below a place that go, times the number of places
        below = [_share_below(gone, Fraction(place, count)) for place in range(count + 1)]
        for place in range(count):
            total[place] += (stop - start) * (below[place + 1] - below[place]) * count
        weight += stop - start
    return [value / weight for value in total] if weight else total


def _gone_by_rank(plan: PruningPlan, kind: str, layer: int) -> list[int]:
    """How many of the lowest units by score go: entry `r` counts those below rank `r`."""
    before = _units(plan.before, kind, layer)
    after = set(_units(plan.after, kind, layer))
    if kind == "kv_group":
        _require_whole(plan, layer)
    values = (plan.scores or {})[kind][layer]
    order = sorted(range(len(before)), key=lambda local: (values[local], local))
    gone = itertools.accumulate(before[local] not in after for local in order)
    return [0, *gone] if before else []


def _units(structure: Structure, kind: str, layer: int) -> tuple[int, ...]:
    if kind == "kv_group":
        return structure.kv_heads(layer)
    return structure.layers[layer].units(kind)  # type: ignore[arg-type]


def _require_whole(plan: PruningPlan, layer: int) -> None:
    groups = set(plan.after.kv_heads(layer))
    had, has = plan.before.layers[layer].heads, plan.kept[layer].heads
    parts = [h for h in had if h // plan.before.group_size in groups and h not in has]
    if parts:
        raise UsageError(
            f"the plan removes {label(layer, 'head', parts[0])} and keeps other heads of its KV "
            "group, so it cannot be transferred by whole groups",
            "Use a plan of granularity kv_group, or transfer by head.",
        )


def _share_below(gone: Sequence[int], share: Fraction) -> Fraction:
    """Units that go among the lowest `share` of the ranks, as a share of all ranks."""
    count = len(gone) - 1
    whole, part = divmod(share * count, 1)
    rank = int(whole)
    rest = part * (gone[rank + 1] - gone[rank]) if part else Fraction()
    return (gone[rank] + rest) / count


def _whole(wanted: Sequence[Fraction]) -> list[int]:
    """Whole numbers that add up to the sum rounded down, by largest remainder."""
    counts = [int(value) for value in wanted]
    rest = int(sum(wanted, Fraction())) - sum(counts)
    order = sorted(range(len(wanted)), key=lambda i: (counts[i] - wanted[i], i))
    for index in order[:rest]:
        counts[index] += 1
    return counts


def _at_densest(scores: Sequence[float], density: Sequence[Fraction], count: int) -> list[int]:
    """Local indices of the units of a target layer at the `count` densest ranks."""
    ranked = sorted(range(len(scores)), key=lambda local: (scores[local], local))
    places = sorted(range(len(scores)), key=lambda place: (-density[place], place))
    return sorted(ranked[place] for place in places[:count])


def _plan(structure: Structure, kept: Sequence[LayerParts], origin: str) -> PruningPlan:
    return make_plan(
        structure,
        [layer.heads for layer in kept],
        neurons=[layer.neurons for layer in kept],
        without={
            "attention": [i for i, layer in enumerate(kept) if not layer.has_attention],
            "ffn": [i for i, layer in enumerate(kept) if not layer.has_ffn],
        },
        scorer=origin,
    )
