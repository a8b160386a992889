"""Size of a unit's weights.

Reference: [1] Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks,
https://arxiv.org/abs/1506.02626 (single weights); units as groups of weights follow
[2] Li et al. 2017, Pruning Filters for Efficient ConvNets, section 3.1,
https://arxiv.org/abs/1608.08710.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.models.layout import head_columns, projection_rows
from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors, WeightTensors
from sentinel_research.pruning.units import owners
from sentinel_research.registry import scorer

_UNITS = ("head", "kv_group", "neuron", "attention", "ffn", "layer", "weight")


@scorer(
    "magnitude_l1",
    summary="L1 norm of the unit's own weights and biases",
    reference="Li et al. 2017, section 3.1, https://arxiv.org/abs/1608.08710",
    units=_UNITS,
)
@torch.no_grad()
def magnitude_l1(inputs: ScoringInputs) -> UnitTensors | WeightTensors:
    """`sum |w|` over everything that belongs to the unit; `|w|` for single weights.

    A head owns its query, key and value rows (with biases) and its output columns; in
    grouped-query attention all heads of a group count the shared key and value rows, so that these
    do not change the order inside a group. A KV group owns everything of its heads, the shared rows
    once. A neuron owns its rows and its output column, a block and a layer every weight once.

    Args:
        inputs: Only the model is read.

    Returns:
        One float64 tensor per layer, [units]; for weights one per projection.
    """
    return _summed(inputs, lambda weight: weight.double().abs())


@scorer(
    "magnitude_l2",
    summary="L2 norm of the unit's own weights and biases",
    reference="Li et al. 2017, section 3.1, https://arxiv.org/abs/1608.08710",
    units=_UNITS,
)
@torch.no_grad()
def magnitude_l2(inputs: ScoringInputs) -> UnitTensors | WeightTensors:
    """`sqrt(sum w^2)` over everything that belongs to the unit, see `magnitude_l1`.

    Args:
        inputs: Only the model is read.

    Returns:
        One float64 tensor per layer, [units]; for weights one per projection.
    """
    return [layer.sqrt() for layer in _summed(inputs, lambda weight: weight.double().square())]


def _summed(
    inputs: ScoringInputs, measure: Callable[[Tensor], Tensor]
) -> UnitTensors | WeightTensors:
    """Sum a measure of single weights over every unit."""
    kind, layers = inputs.kind, range(inputs.structure.num_layers)
    if kind == "weight":
        return [measure(inputs.weight(path)).cpu() for path in inputs.projections]
    if kind in ("head", "kv_group"):
        return [_head_sums(inputs, layer, measure) for layer in layers]
    if kind == "neuron":
        return [_neuron_sums(inputs, layer, measure) for layer in layers]
    blocks = {"attention": ["attention"], "ffn": ["ffn"], "layer": ["attention", "ffn"]}[kind]
    return [
        sum(
            (_block_sum(inputs, layer, block, measure) for block in blocks),
            torch.zeros(count, dtype=torch.float64),
        )
        for layer, count in enumerate(inputs.num_units)
    ]


def _parts(
    inputs: ScoringInputs, path: str, measure: Callable[[Tensor], Tensor]
) -> Float64[Tensor, " outputs"]:
    """The measure of every output of an input projection, bias included."""
    module = inputs.model.get_submodule(path)
    total = measure(inputs.weight(path)).sum(dim=1)
    bias = getattr(module, "bias", None)
    return (total if bias is None else total + measure(bias)).cpu()


def _head_sums(
    inputs: ScoringInputs, layer: int, measure: Callable[[Tensor], Tensor]
) -> Float64[Tensor, " units"]:
    """Sums over heads, or over KV groups, whose key and value rows count once."""
    row, structure = inputs.anatomy, inputs.structure
    scores = torch.zeros(inputs.num_units[layer], dtype=torch.float64)
    if not len(scores):
        return scores
    outputs = [_parts(inputs, path, measure) for path in row.input_paths(layer, "attention")]
    columns = measure(inputs.weight(row.output_path(layer, "attention"))).sum(dim=0).cpu()
    unit_of, group_of = (
        owners(structure, kind, layer)["head"].tolist() for kind in (inputs.kind, "kv_group")
    )
    for unit in range(len(scores)):
        queries = [local for local, owner in enumerate(unit_of) if owner == unit]
        for projection, values in zip(row.inputs, outputs, strict=True):
            rows = projection_rows(structure, layer, projection, queries, [group_of[queries[0]]])
            scores[unit] += values[rows].sum()
        scores[unit] += columns[head_columns(structure, queries)].sum()
    return scores


def _neuron_sums(
    inputs: ScoringInputs, layer: int, measure: Callable[[Tensor], Tensor]
) -> Float64[Tensor, " neurons"]:
    row = inputs.anatomy
    if not inputs.structure.layers[layer].neurons:
        return torch.zeros(0, dtype=torch.float64)
    rows = sum(_parts(inputs, path, measure) for path in row.input_paths(layer, "ffn"))
    return rows + measure(inputs.weight(row.output_path(layer, "ffn"))).sum(dim=0).cpu()


def _block_sum(
    inputs: ScoringInputs, layer: int, block: str, measure: Callable[[Tensor], Tensor]
) -> Float64[Tensor, ""]:
    """Every weight of a block once; its norm and its output bias are not counted."""
    row, parts = inputs.anatomy, inputs.structure.layers[layer]
    total = torch.zeros((), dtype=torch.float64)
    if not (parts.heads if block == "attention" else parts.neurons):
        return total
    for path in row.input_paths(layer, block):  # type: ignore[arg-type]
        total += _parts(inputs, path, measure).sum()
    return total + measure(inputs.weight(row.output_path(layer, block))).sum().cpu()  # type: ignore[arg-type]
