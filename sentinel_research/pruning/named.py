"""Units by name: `L3H7`, `L3N12-40` (both ends), `L3.attention`, `L3.ffn`; from and to plans."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sentinel_research.errors import UsageError
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.specs import PruneSpec
from sentinel_research.specs.granularity import MANUAL
from sentinel_research.structure import LayerParts, Structure, UnitKind, label

_NAME = re.compile(r"L(\d+)(?:([HN])(\d+)(?:-(\d+))?|\.(attention|ffn))")
_KIND: dict[str, UnitKind] = {"H": "head", "N": "neuron"}
# of a fraction as it is written: parameters are counted exactly
_TOLERANCE = 5e-5


def named_units(structure: Structure, names: Iterable[str]) -> set[tuple[UnitKind, int, int]]:
    """Kind, layer and original index of every unit that is named; a block is unit 0.

    Raises:
        UsageError: for what is no name, and for a unit that the model does not have.

    Example:
        >>> from sentinel_research.models import structure_of
        >>> from transformers import GPT2Config
        >>> structure = structure_of(GPT2Config(n_layer=2, n_head=4, n_embd=8))
        >>> sorted(named_units(structure, ["L0H1-2", "L1.ffn"]))
        [('ffn', 1, 0), ('head', 0, 1), ('head', 0, 2)]
    """
    found: set[tuple[UnitKind, int, int]] = set()
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            raise UsageError(
                f"'{name}' names no unit",
                "Units are named like L3H7, L3H0-3, L3N12-40, L3.attention and L3.ffn.",
            )
        layer = int(match[1])
        if layer >= structure.num_layers:
            raise UsageError(
                f"'{name}': there is no layer {layer}",
                f"Layers are numbered 0 to {structure.num_layers - 1}.",
            )
        kind: UnitKind = match[5] or _KIND[match[2]]  # type: ignore[assignment]
        first = 0 if match[5] else int(match[3])
        last = int(match[4]) if match[4] else first
        found |= {(kind, layer, unit) for unit in _present(structure, name, kind, first, last)}
    return found


def _present(
    structure: Structure, name: str, kind: UnitKind, first: int, last: int
) -> Sequence[int]:
    """The units of a range, all of which the model has."""
    match = _NAME.fullmatch(name)
    assert match is not None  # the caller has matched it
    there = structure.layers[int(match[1])].units(kind)
    # a range can name more units than there is memory for
    if last < first or last - first >= max(structure.num_heads, structure.intermediate_size):
        raise UsageError(f"'{name}' is no range of units", "Give the smaller end first: L3N12-40.")
    missing = sorted(set(range(first, last + 1)) - set(there))
    if missing:
        raise UsageError(
            f"'{name}': the model has no {label(int(match[1]), kind, missing[0])}",
            f"Layer {match[1]} has {len(there)} units of kind {kind}"
            f"{f', numbered {there[0]} to {there[-1]}' if there else ''}.",
        )
    return range(first, last + 1)


def plan_without(
    structure: Structure, units: Iterable[tuple[UnitKind, int, int]], **origin: Any
) -> PruningPlan:
    """The plan that removes these units.

    Args:
        structure: Of the model.
        units: Kind, layer and original index.
        **origin: As for `make_plan`.

    Raises:
        UsageError: if nothing would be left.
    """
    gone = set(units)

    def kept(kind: UnitKind) -> list[list[int]]:
        return [
            [unit for unit in layer.units(kind) if (kind, index, unit) not in gone]
            for index, layer in enumerate(structure.layers)
        ]

    without: dict[UnitKind, list[int]] = {
        block: [index for index in range(structure.num_layers) if (block, index, 0) in gone]
        for block in ("attention", "ffn")
    }
    return make_plan(
        structure,
        kept("head"),
        neurons=kept("neuron"),
        without=without,  # type: ignore[arg-type]
        scorer=MANUAL,
        **origin,
    )


def names_of(plan: PruningPlan) -> tuple[str, ...]:
    """What a plan removes, by name; runs of heads and neurons as ranges."""
    found: list[str] = []
    for index, (old, new) in enumerate(zip(plan.before.layers, plan.kept, strict=True)):
        found += _gone(index, old, new)
    return tuple(found)


def _gone(index: int, old: LayerParts, new: LayerParts) -> list[str]:
    found = []
    for block, kind, there in (
        ("attention", "head", new.has_attention),
        ("ffn", "neuron", new.has_ffn),
    ):
        if not there and old.units(block):  # type: ignore[arg-type]
            found.append(f"L{index}.{block}")
            continue
        units = sorted(set(old.units(kind)) - set(new.units(kind)))  # type: ignore[arg-type]
        for first, last in _runs(units):
            name = label(index, kind, first)  # type: ignore[arg-type]
            found.append(name if first == last else f"{name}-{last}")
    return found


def _runs(units: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of every run of neighbours."""
    runs = itertools.groupby(enumerate(units), key=lambda pair: pair[1] - pair[0])
    ends = ([unit for _, unit in run] for _, run in runs)
    return [(run[0], run[-1]) for run in ends]


def share_of(plan: PruningPlan) -> float:
    """The share of the parameters of all heads, neurons and blocks that a plan removes."""
    return plan.parameters_removed / plan.before.num_parameters()


def named_plan(structure: Structure, spec: PruneSpec) -> PruningPlan:
    """The plan of a request that names its units.

    Args:
        structure: Of the model.
        spec: With `units`.

    Raises:
        UsageError: for units that the model does not have, or whose share is not the fraction.
    """
    plan = plan_without(
        structure,
        named_units(structure, spec.units),
        fraction=spec.fraction,
        budget=spec.budget,
        scope=spec.scope,
        granularity=spec.granularities,
    )
    share = share_of(plan)
    if abs(share - spec.fraction) > _TOLERANCE:
        raise UsageError(
            f"`units` comes to {share:.6g} of the parameters of all heads, neurons and blocks, "
            f"and the fraction says {spec.fraction:g}",
            f"set `fractions: [{share:.6g}]`",
        )
    return plan
