"""Combine plans: both at once, what one does and another does not, and the same on another model.

Pure data, no torch.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from sentinel_research.errors import UsageError
from sentinel_research.pruning.plan import PruningPlan, make_plan
from sentinel_research.structure import LayerParts, Structure

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


def transfer(plan: PruningPlan, structure: Structure, scores: UnitScores) -> PruningPlan:
    """The same pruning on another model, by relative depth and rank.

    A layer of the target takes the share that the layers at the same relative depth of the plan's
    model lose, at the same relative ranks: the plan's scores rank its units, the target's scores
    rank the target's. As large a share goes in all as in the plan, rounded down to whole units.
    Indices carry no meaning from one model to another.

    Args:
        plan: With scores for the kinds that it removes (heads, neurons).
        structure: Of the target model, of any family.
        scores: Importance of the target's units per kind and layer, higher stays.

    Returns:
        A plan for the target; its origin is `transfer of SCORER`.

    Raises:
        UsageError: if the plan has no scores for a kind that it removes, the target's scores are
            missing, or the plan removes blocks or single weights.
    """
    unsupported = sorted({"attention", "ffn", "weight"} & set(plan.num_removed))
    if unsupported:
        raise UsageError(
            f"cannot transfer a plan that removes units of kind {', '.join(unsupported)}",
            "Heads and neurons have ranks inside a layer; these have not.",
        )
    kept: dict[str, list[list[int]]] = {}
    for kind in ("head", "neuron"):
        present = [layer.units(kind) for layer in structure.layers]
        if not plan.num_removed.get(kind):
            kept[kind] = [list(units) for units in present]
            continue
        _require_scores(plan, scores, kind, present)
        density = [
            _density(plan, kind, index, len(present), len(units))
            for index, units in enumerate(present)
        ]
        counts = _whole([sum(places, Fraction()) for places in density])
        kept[kind] = [
            _survivors(units, own, places, count)
            for units, own, places, count in zip(
                present, scores[kind], density, counts, strict=True
            )
        ]
    return make_plan(
        structure, kept["head"], neurons=kept["neuron"], scorer=f"transfer of {plan.scorer}"
    )


def _require_scores(
    plan: PruningPlan, scores: UnitScores, kind: str, present: Sequence[Sequence[int]]
) -> None:
    if kind not in (plan.scores or {}):
        raise UsageError(
            f"the plan removes units of kind {kind} and carries no scores for them",
            "Transfer goes by rank: use a plan that a scorer made.",
        )
    found = [len(layer) for layer in scores.get(kind, [])]
    if found != [len(units) for units in present]:
        raise UsageError(
            f"scores of the target's {kind}s per layer are {found}, it has "
            f"{[len(units) for units in present]}",
            "Score the target first: score_units(model, spec).values",
        )


def _density(
    plan: PruningPlan, kind: str, layer: int, num_layers: int, count: int
) -> list[Fraction]:
    """For each rank of a target layer, lowest first, how much of it goes in the source, 0 to 1."""
    total, weight = [Fraction()] * count, Fraction()
    for source in range(plan.num_layers):
        start = max(Fraction(layer, num_layers), Fraction(source, plan.num_layers))
        stop = min(Fraction(layer + 1, num_layers), Fraction(source + 1, plan.num_layers))
        gone = _gone_by_rank(plan, kind, source)
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
    before = plan.before.layers[layer].units(kind)  # type: ignore[arg-type]
    after = set(plan.kept[layer].units(kind))  # type: ignore[arg-type]
    values = (plan.scores or {})[kind][layer]
    order = sorted(range(len(before)), key=lambda local: (values[local], local))
    gone = itertools.accumulate(before[local] not in after for local in order)
    return [0, *gone] if before else []


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


def _survivors(
    units: Sequence[int], scores: Sequence[float], density: Sequence[Fraction], count: int
) -> list[int]:
    """Units of a target layer that stay when those at the `count` densest ranks go."""
    ranked = sorted(range(len(units)), key=lambda local: (scores[local], local))
    places = sorted(range(len(units)), key=lambda place: (-density[place], place))
    gone = {ranked[place] for place in places[:count]}
    return [unit for local, unit in enumerate(units) if local not in gone]


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
