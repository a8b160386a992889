"""From kinds of unit that a user names to the parts of a plan, and what they cost.

A KV group is its query heads, a layer its two blocks; everything else is a part itself.
"""

from collections.abc import Mapping, Sequence

from sentinel_research.pruning.select import Chosen, Cost, Unit
from sentinel_research.structure import LayerParts, Structure

_BASE = {"kv_group": "head"}


def scored_kind(kind: str) -> str:
    """The kind that a scorer is asked for: a KV group is scored by its heads."""
    return _BASE.get(kind, kind)


def members(structure: Structure, kind: str, layer: int, index: int) -> tuple[int, ...]:
    """Local indices, among units of the scored kind, that one unit consists of."""
    if kind != "kv_group":
        return (index,)
    heads = structure.layers[layer].heads
    group = structure.kv_heads(layer)[index]
    return tuple(local for local, head in enumerate(heads) if head // structure.group_size == group)


def unit_scores(
    structure: Structure, kind: str, scores: Sequence[Sequence[float]]
) -> list[list[float]]:
    """Scores of the units of a kind: a unit is as important as its members together."""
    if kind != "kv_group":
        return [list(layer) for layer in scores]
    return [
        [
            sum(layer[local] for local in members(structure, kind, index, group))
            for group in range(len(structure.kv_heads(index)))
        ]
        for index, layer in enumerate(scores)
    ]


def kept_parts(structure: Structure, removed: Chosen) -> tuple[LayerParts, ...]:
    """What stays of every layer when units are removed.

    Args:
        structure: Of the model.
        removed: Per kind and layer local indices of units.

    Returns:
        The layers of a plan.
    """
    return tuple(
        _kept_layer(structure, index, {kind: layers[index] for kind, layers in removed.items()})
        for index in range(structure.num_layers)
    )


def _kept_layer(
    structure: Structure, index: int, removed: Mapping[str, Sequence[int]]
) -> LayerParts:
    parts = structure.layers[index]
    whole = bool(removed.get("layer"))
    has_attention = parts.has_attention and not whole and not removed.get("attention")
    has_ffn = parts.has_ffn and not whole and not removed.get("ffn")
    heads = {
        local
        for kind in ("head", "kv_group")
        for unit in removed.get(kind, ())
        for local in members(structure, kind, index, unit)
    }
    neurons = set(removed.get("neuron", ()))
    return LayerParts.model_construct(
        heads=_without(parts.heads, heads) if has_attention else (),
        neurons=_without(parts.neurons, neurons) if has_ffn else (),
        has_attention=has_attention,
        has_ffn=has_ffn,
    )


def _without(units: tuple[int, ...], gone: set[int]) -> tuple[int, ...]:
    if not gone:
        return units
    return tuple(unit for local, unit in enumerate(units) if local not in gone)


def budget_cost(structure: Structure, budget: str, sequence_length: int) -> Cost | None:
    """What removing units saves.

    Args:
        structure: Of the model.
        budget: `units`, `parameters` or `flops`.
        sequence_length: Tokens of the sequence that operations are counted on.

    Returns:
        Parameters or forward operations per token; None for `units`.
    """
    if budget == "units":
        return None

    def measure(layers: Sequence[LayerParts]) -> float:
        left = structure.reduced_to(layers)
        if budget == "parameters":
            return left.num_parameters()
        return left.flops_per_token(sequence_length)

    everything = measure(structure.layers)

    def of_all(removed: Chosen) -> float:
        return everything - measure(kept_parts(structure, removed))

    single: dict[tuple[str, int], float] = {}

    def of_unit(unit: Unit) -> float:
        # units of a kind and layer cost the same; the share of a KV group that a head sits in is
        # its own only when it is the last one, so it is spread over the group
        place = unit.kind, unit.layer
        if place not in single:
            count = _num(structure, unit.kind, unit.layer)
            every = {unit.kind: _one_layer(structure, unit.layer, range(count))}
            single[place] = of_all(every) / count
        return single[place]

    return Cost(of_unit, of_all)


def _num(structure: Structure, kind: str, layer: int) -> int:
    if kind == "kv_group":
        return len(structure.kv_heads(layer))
    return structure.num_units(kind)[layer]  # type: ignore[arg-type]


def _one_layer(structure: Structure, layer: int, units: Sequence[int]) -> list[Sequence[int]]:
    return [units if index == layer else () for index in range(structure.num_layers)]
