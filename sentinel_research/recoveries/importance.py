"""How important the heads and neurons that pruning left are, for methods that tell them apart."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sentinel_research.models.layout import structure_of
from sentinel_research.pruning import PruningPlan, score_units
from sentinel_research.pruning.units import owners
from sentinel_research.recoveries.inputs import RecoveryInputs
from sentinel_research.specs import PruneSpec
from sentinel_research.structure import Structure

Kind = Literal["head", "neuron"]
# needs no text and serves every family; only for plans without scores of their own
_FALLBACK = "magnitude_l2"


class Importance(NamedTuple):
    """Importance of the units of one kind that a model has now, layer by layer."""

    scorer: str
    """Whose scores they are."""
    values: list[Float64[Tensor, " units"]]
    """Higher is more important."""
    is_left: list[Bool[Tensor, " units"]]
    """False for units that the plan masks: they are there, and take no part."""

    def of_left(self) -> Float64[Tensor, " left"]:
        """The values of all units that are left, of all layers together."""
        return torch.cat(
            [value[left] for value, left in zip(self.values, self.is_left, strict=True)]
        )


def importance_of(inputs: RecoveryInputs, kind: Kind) -> Importance:
    """The plan's own scores where it has them, and weight norms otherwise.

    A plan that scored KV groups gives every head the score of its group. One that scored whole
    blocks or single weights says nothing about units: `magnitude_l2` of the model is computed.

    Args:
        inputs: With the model as it will be trained, and its plan if there is one.
        kind: `head` or `neuron`.

    Raises:
        UsageError: if the model's family is unknown.
    """
    structure, plan = structure_of(inputs.model.config), inputs.plan
    found = None if plan is None else _planned(plan, kind)
    if plan is None or found is None:
        spec = PruneSpec(scorer=_FALLBACK, fraction=0, granularity=kind)
        scored = score_units(inputs.model, spec).values[kind]
        values = [torch.tensor(layer, dtype=torch.float64) for layer in scored]
        return Importance(_FALLBACK, values, _left(structure, plan, kind))
    # units are named by their places in the dense model
    values = [
        torch.tensor([by_unit[unit] for unit in layer.units(kind)], dtype=torch.float64)
        for by_unit, layer in zip(found, structure.layers, strict=True)
    ]
    return Importance(plan.scorer, values, _left(structure, plan, kind))


def scored_kinds(plan: PruningPlan | None) -> list[Kind]:
    """Heads, and neurons if the plan has scores of them."""
    kinds: list[Kind] = ["head"]
    if plan is not None and "neuron" in (plan.scores or {}):
        kinds.append("neuron")
    return kinds


def critical(importance: Importance, fraction: float) -> list[Float[Tensor, " units"]]:
    """1 for the most important units that are left, 0 for all others, layer by layer.

    Args:
        importance: Of one kind.
        fraction: Of all units that are left, of all layers together, rounded up to whole units;
            equal ones go by index, the first ones are more important.
    """
    values = importance.of_left()
    chosen = torch.zeros(len(values))
    order = values.sort(descending=True, stable=True).indices
    chosen[order[: math.ceil(fraction * len(values))]] = 1
    found, start = [], 0
    for left in importance.is_left:
        layer = torch.zeros(len(left))
        count = int(left.sum())
        layer[left] = chosen[start : start + count]
        found.append(layer)
        start += count
    return found


def _planned(plan: PruningPlan, kind: Kind) -> list[dict[int, float]] | None:
    """By original index the plan's score of every unit, layer by layer."""
    scores = plan.scores or {}
    if kind in scores:
        return [
            dict(zip(layer.units(kind), values, strict=True))
            for layer, values in zip(plan.before.layers, scores[kind], strict=True)
        ]
    if kind == "head" and "kv_group" in scores:
        return [
            {
                head: values[group]
                for head, group in zip(
                    plan.before.layers[layer].heads,
                    owners(plan.before, "kv_group", layer)["head"].tolist(),
                    strict=True,
                )
            }
            for layer, values in enumerate(scores["kv_group"])
        ]
    return None


def _left(
    structure: Structure, plan: PruningPlan | None, kind: Kind
) -> list[Bool[Tensor, " units"]]:
    kept = structure.layers if plan is None else plan.kept
    return [
        torch.tensor([unit in set(after.units(kind)) for unit in now.units(kind)], dtype=torch.bool)
        for now, after in zip(structure.layers, kept, strict=True)
    ]
