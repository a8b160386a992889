"""From one number per head or neuron to factors of the parameters that belong to it.

A head owns its query rows and its output columns, with biases; key and value rows are shared by
the heads of a group and take the largest factor among them. A neuron owns its input rows and its
output column. Output biases, norms and embeddings belong to no unit.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.anatomy_schema import Projection
from sentinel_research.models.layout import projection_rows, structure_of
from sentinel_research.pruning import PruningPlan
from sentinel_research.pruning.gates import plan_gates
from sentinel_research.pruning.units import owners
from sentinel_research.structure import Structure

_BLOCKS: tuple[Literal["attention", "ffn"], ...] = ("attention", "ffn")
UnitFactors = Mapping[str, Sequence[Tensor]]
"""Per kind (`head`, `neuron`) for each layer one factor per unit that the layer has now."""


def unit_factors(model: PreTrainedModel, factors: UnitFactors) -> dict[str, Tensor]:
    """Factors of parameters that give every unit its own.

    Args:
        model: Dense or pruned model of a known family; masked units count, their weights are there.
        factors: Not negative. A kind that is left out keeps its parameters' factors at 1.

    Returns:
        By parameter name a tensor that broadcasts to the parameter, on the CPU.
    """
    row, structure = anatomy_of(model.config), structure_of(model.config)
    names = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {}
    for layer in range(structure.num_layers):
        vectors: list[tuple[str, int, Tensor]] = []
        if "head" in factors and structure.layers[layer].heads:
            values = factors["head"][layer].float()
            for part, path in zip(row.inputs, row.input_paths(layer, "attention"), strict=True):
                vectors.append((path, row.input_axis, _rows(structure, layer, part, values)))
            columns = values.repeat_interleave(structure.head_dim)
            vectors.append((row.output_path(layer, "attention"), row.output_axis, columns))
        if "neuron" in factors and structure.layers[layer].neurons:
            values = factors["neuron"][layer].float()
            vectors += [(path, row.input_axis, values) for path in row.input_paths(layer, "ffn")]
            vectors.append((row.output_path(layer, "ffn"), row.output_axis, values))
        outputs = {row.output_path(layer, "attention"), row.output_path(layer, "ffn")}
        for path, axis, vector in vectors:
            found[f"{path}.weight"] = vector[:, None] if axis == 0 else vector
            if path not in outputs and f"{path}.bias" in names:
                found[f"{path}.bias"] = vector
    return found


def only(model: PreTrainedModel, slices: Mapping[str, Tensor]) -> dict[str, float | Tensor]:
    """Factors that hold every parameter but these slices, also those that are tied."""
    names = (name for name, _ in model.named_parameters(remove_duplicate=False))
    return {name: slices.get(name, 0.0) for name in names}


def _rows(structure: Structure, layer: int, projection: Projection, values: Tensor) -> Tensor:
    """The factor of every output of an input projection of attention."""
    groups = owners(structure, "kv_group", layer)["head"]
    num_groups = len(structure.kv_heads(layer))
    everything = projection_rows(
        structure, layer, projection, range(len(values)), range(num_groups)
    )
    factors = torch.empty(len(everything))
    if projection.interleaved:
        for head, value in enumerate(values):
            factors[projection_rows(structure, layer, projection, [head], [])] = value
        return factors
    for head, value in enumerate(values):
        factors[projection_rows(structure, layer, projection, [head], [])] = value
    for group in range(num_groups):
        rows = projection_rows(structure, layer, projection, [], [group])
        factors[rows] = values[groups == group].max()
    return factors


def held(model: PreTrainedModel, plan: PruningPlan | None) -> dict[str, Tensor]:
    """Factors that keep what a plan took out as it is: masked units, and single weights at zero.

    Args:
        model: What the plan made: with the units removed, or masked.
        plan: None holds nothing.
    """
    if plan is None:
        return {}
    row, structure = anatomy_of(model.config), structure_of(model.config)
    found: dict[str, Tensor] = {}
    if structure.layers != plan.kept:
        gates = plan_gates(structure, plan)
        found = unit_factors(
            model, {kind: gates[kind] for kind in ("head", "neuron") if kind in gates}
        )
        for block in _BLOCKS:
            # a block that is gone takes its output bias along
            gone = [layer for layer, gate in enumerate(gates.get(block, ())) if not gate.any()]
            biases = {f"{row.output_path(layer, block)}.bias" for layer in gone}
            found.update(
                {name: torch.zeros(()) for name, _ in model.named_parameters() if name in biases}
            )
    for name, mask in plan.weights.items():
        keep = torch.from_numpy(mask.keep()).float()
        found[name] = found[name] * keep if name in found else keep
    return found
