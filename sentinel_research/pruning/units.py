"""From kinds of unit that a user names to the parts of a plan, and what they cost.

A KV group is its query heads, a layer its two blocks; everything else is a part itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from sentinel_research.pruning.select import Chosen, Cost, Unit
from sentinel_research.structure import LayerParts, Structure, UnitKind


def owners(structure: Structure, kind: str, layer: int) -> dict[UnitKind, Int[Tensor, " parts"]]:
    """For every part of a layer that a kind of unit consists of, the unit that it belongs to.

    Args:
        structure: Of the model.
        kind: Any kind of unit, `kv_group` and `layer` included.
        layer: Layer index.

    Returns:
        Per kind of part the local index of each part's unit: the heads of KV groups, the blocks of
        a layer; other units are their own parts.
    """
    parts = structure.layers[layer]
    if kind == "kv_group":
        groups = structure.kv_heads(layer)
        found = [groups.index(head // structure.group_size) for head in parts.heads]
        return {"head": torch.tensor(found, dtype=torch.long)}
    if kind == "layer":
        return {
            "attention": torch.zeros(int(parts.has_attention), dtype=torch.long),
            "ffn": torch.zeros(int(parts.has_ffn), dtype=torch.long),
        }
    own = cast("UnitKind", kind)
    return {own: torch.arange(len(parts.units(own)))}


def add_up_heads(
    structure: Structure, kind: str, layer: int, values: Float64[Tensor, "*axes heads"]
) -> Float64[Tensor, "*axes units"]:
    """Sums over the heads of each unit along the last axis; for heads the values themselves."""
    owner = owners(structure, kind, layer)["head"].to(values.device)
    count = structure.num_units(kind)[layer]  # type: ignore[arg-type]
    return values.new_zeros(*values.shape[:-1], count).index_add_(-1, owner, values)


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


def removed_units(structure: Structure, kinds: Iterable[str], kept: Sequence[LayerParts]) -> Chosen:
    """The units of which nothing stays: what `kept_parts` makes these layers from.

    Args:
        structure: Of the model.
        kinds: Any kinds of unit.
        kept: What stays of every layer.

    Returns:
        Per kind and layer local indices of units, ascending.
    """
    found = {}
    for kind in kinds:
        counts = structure.num_units(kind)  # type: ignore[arg-type]
        layers = []
        for index, (before, after) in enumerate(zip(structure.layers, kept, strict=True)):
            left = set()
            for part, owner in owners(structure, kind, index).items():
                stays = set(after.units(part))
                units = zip(before.units(part), owner.tolist(), strict=True)
                left |= {unit for original, unit in units if original in stays}
            layers.append(tuple(unit for unit in range(counts[index]) if unit not in left))
        found[kind] = tuple(layers)
    return found


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
        if removed.get(kind)
        for local, unit in enumerate(owners(structure, kind, index)["head"].tolist())
        if unit in removed[kind]
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
            count = structure.num_units(unit.kind)[unit.layer]  # type: ignore[arg-type]
            every = {unit.kind: _one_layer(structure, unit.layer, range(count))}
            single[place] = of_all(every) / count
        return single[place]

    return Cost(of_unit, of_all)


def _one_layer(structure: Structure, layer: int, units: Sequence[int]) -> list[Sequence[int]]:
    return [units if index == layer else () for index in range(structure.num_layers)]
