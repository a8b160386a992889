"""The third form of a pruning: zeros in the stock model, for tools that know only stock models.

A baked model loads anywhere, at full size. Its zeros are recognised (`baked_plan`) and shrunk
(`shrink_baked`). Exact zeros in the output projection's columns are enough for the same logits. The
values and the biases in front of them go to zero too: then a head or neuron is a fixed point of
gradient descent, and stays dead under training. A unit with zeros behind it only is no baked one:
it is how some models are initialised, and it learns. The exception is a query head whose KV group
lives on: its values belong to the others too, so its output weights alone are zero, and would wake
up under training.
"""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.anatomy_schema import Anatomy, Projection
from sentinel_research.models.hooks import refuse_hooks
from sentinel_research.models.layout import (
    head_columns,
    is_pruned,
    projection_rows,
    structure_of,
)
from sentinel_research.pruning.gates import zero_weights
from sentinel_research.pruning.layout_check import check_layout
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.surgery import check_agreement, remove
from sentinel_research.structure import Structure


@torch.no_grad()
def bake(model: PreTrainedModel, plan: PruningPlan) -> PreTrainedModel:
    """A copy of the model, of the same class and size, with zeros for everything that goes.

    Args:
        model: Dense model of a known family; it is not changed.
        plan: What stays.

    Returns:
        The copy, with the same logits as `remove(model, plan)` up to rounding.

    Raises:
        UsageError: if the plan does not fit the model, or the model is masked or already pruned.
        CheckpointError: if the copy does not compute what the masked model computes.
    """
    refuse_hooks(model, "baked")
    if is_pruned(model.config):
        raise UsageError(
            "this model is already smaller than its stock architecture and cannot be baked",
            "Apply the plan to the dense model.",
        )
    check_layout(model)
    row, structure = anatomy_of(model.config), structure_of(model.config)
    plan.check_fits(structure)
    baked = copy.deepcopy(model)
    zero_weights(baked, plan)
    source = copy.deepcopy(baked) if plan.weights else model
    for layer, kept in enumerate(plan.kept):
        _bake_attention(baked, row, structure, plan, layer)
        _bake_ffn(baked, row, structure, plan, layer)
        for block, present in (("attention", kept.has_attention), ("ffn", kept.has_ffn)):
            if not present:
                output = baked.get_submodule(row.output_path(layer, block))  # type: ignore[arg-type]
                for parameter in output.parameters():
                    parameter.zero_()
    check_agreement(source, baked, plan)
    return baked


def _bake_attention(
    model: PreTrainedModel, row: Anatomy, structure: Structure, plan: PruningPlan, layer: int
) -> None:
    kept, groups = set(plan.kept[layer].heads), set(plan.after.kv_heads(layer))
    heads = structure.layers[layer].heads
    gone = [local for local, head in enumerate(heads) if head not in kept]
    dead = [local for local, group in enumerate(structure.kv_heads(layer)) if group not in groups]
    if not gone:
        return
    output = model.get_submodule(row.output_path(layer, "attention"))
    _zero(output.get_parameter("weight"), row.output_axis, head_columns(structure, gone))
    for projection in row.inputs:
        if "value" not in projection.parts:
            continue
        module = model.get_submodule(f"{row.attention_path(layer)}.{projection.name}")
        values = _value_rows(structure, layer, projection, dead)
        _zero(module.get_parameter("weight"), row.input_axis, values)
        if structure.attention_input_bias:
            _zero(module.get_parameter("bias"), 0, values)


def _value_rows(
    structure: Structure, layer: int, projection: Projection, groups: list[int]
) -> Tensor:
    """Rows of a projection that compute the values of key/value heads, by local index."""
    lost = projection_rows(structure, layer, projection, groups, groups)
    rows = lost.unflatten(0, (-1, structure.head_dim))
    # the blocks of a fused projection are one per part
    parts = len(projection.parts)
    place = projection.parts.index("value")
    values = rows[place::parts] if projection.interleaved else rows.chunk(parts)[place]
    return values.flatten()


def _bake_ffn(
    model: PreTrainedModel, row: Anatomy, structure: Structure, plan: PruningPlan, layer: int
) -> None:
    kept = set(plan.kept[layer].neurons)
    neurons = structure.layers[layer].neurons
    gone = torch.tensor([local for local, neuron in enumerate(neurons) if neuron not in kept])
    if not len(gone):
        return
    output = model.get_submodule(row.output_path(layer, "ffn"))
    _zero(output.get_parameter("weight"), row.output_axis, gone)
    for path in row.input_paths(layer, "ffn"):
        module = model.get_submodule(path)
        _zero(module.get_parameter("weight"), row.input_axis, gone)
        if structure.ffn_input_bias:
            _zero(module.get_parameter("bias"), 0, gone)


def _zero(parameter: Tensor, axis: int, index: Tensor) -> None:
    if len(index):
        parameter.index_fill_(axis, index.to(parameter.device), 0.0)


@torch.no_grad()
def baked_plan(model: PreTrainedModel) -> PruningPlan:
    """Recognise what a baked model is missing from its zeros.

    Units with zeros in front of and behind them are missing, whatever made the zeros. Blocks are
    not recognised: a block without heads keeps its output bias.

    Args:
        model: Dense or pruned model of a known family.

    Returns:
        The plan; the identity if nothing is missing, and also if everything is.
    """
    row, structure = anatomy_of(model.config), structure_of(model.config)
    heads = [_living_heads(model, row, structure, layer) for layer in range(structure.num_layers)]
    neurons = [
        _living_neurons(model, row, structure, layer) for layer in range(structure.num_layers)
    ]
    if not any(heads) and not any(neurons):
        return make_plan(structure, scorer="baked")
    return make_plan(structure, heads, neurons=neurons, scorer="baked")


def _living_heads(
    model: PreTrainedModel, row: Anatomy, structure: Structure, layer: int
) -> list[int]:
    heads, groups = structure.layers[layer].heads, structure.kv_heads(layer)
    if not heads:
        return []
    writes = _writes(model, row, layer, "attention", structure.head_dim)
    group_of = [head // structure.group_size for head in heads]
    read = {group for group, writing in zip(group_of, writes, strict=True) if writing}
    # nobody reads the others: they are dead if their values are zero too
    unread = [local for local, group in enumerate(groups) if group not in read]
    living = set()
    for projection in row.inputs:
        if "value" in projection.parts:
            path = f"{row.attention_path(layer)}.{projection.name}"
            for local in unread:
                rows = _value_rows(structure, layer, projection, [local])
                if _holds_any(model, path, row.input_axis, rows):
                    living.add(groups[local])
    return [
        head
        for head, group, writing in zip(heads, group_of, writes, strict=True)
        if writing or group in living
    ]


def _living_neurons(
    model: PreTrainedModel, row: Anatomy, structure: Structure, layer: int
) -> list[int]:
    neurons = structure.layers[layer].neurons
    if not neurons:
        return []
    writes = _writes(model, row, layer, "ffn", 1)
    return [
        neuron
        for local, (neuron, writing) in enumerate(zip(neurons, writes, strict=True))
        if writing
        or any(
            _holds_any(model, path, row.input_axis, torch.tensor([local]))
            for path in row.input_paths(layer, "ffn")
        )
    ]


def _writes(model: PreTrainedModel, row: Anatomy, layer: int, block: str, width: int) -> list[bool]:
    """For each unit whether its slice of the output projection holds anything but zeros."""
    output = model.get_submodule(row.output_path(layer, block))  # type: ignore[arg-type]
    weight = output.get_parameter("weight")
    columns = (weight != 0).any(dim=1 - row.output_axis)
    found: list[bool] = columns.unflatten(0, (-1, width)).any(dim=1).tolist()
    return found


def _holds_any(model: PreTrainedModel, path: str, axis: int, rows: Tensor) -> bool:
    """Whether rows of an input projection, or their biases, hold anything but zeros."""
    module = model.get_submodule(path)
    weight = module.get_parameter("weight")
    bias = getattr(module, "bias", None)
    rows = rows.to(weight.device)
    return bool(weight.index_select(axis, rows).any()) or (
        bias is not None and bool(bias.index_select(0, rows).any())
    )


def shrink_baked(model: PreTrainedModel) -> PreTrainedModel:
    """Remove the heads and neurons that a baked model holds only as zeros.

    Args:
        model: Dense or pruned model; it is not changed.

    Returns:
        The smaller model, with the same logits up to rounding; `model` itself if nothing is zero.
    """
    plan = baked_plan(model)
    return model if plan.is_identity else remove(model, plan)
