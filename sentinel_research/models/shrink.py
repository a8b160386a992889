"""Give a dense model's layers the shapes of a pruned one. Shapes only: no weight is kept.

Works on the meta device too, so that `from_pretrained` can build the shapes and then load.
"""

from typing import cast

from torch import nn
from transformers import BloomConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.anatomy_schema import Anatomy
from sentinel_research.models.attention import (
    EmptyAttention,
    KeptSlopesAttention,
    NoNeurons,
    OutputBias,
)
from sentinel_research.models.layout import norm_stays, structure_of
from sentinel_research.structure import Structure


def _swap(model: PreTrainedModel, path: str, new: nn.Module) -> None:
    """Put an uninitialised module in the place of another, on the same device, of the same type."""
    weight = next(model.get_submodule(path).parameters(), None)
    if weight is not None:
        new = new.to(device=weight.device, dtype=weight.dtype)
    model.set_submodule(path, new)


def _swap_projection(
    model: PreTrainedModel, path: str, axis: int, width: int, *, add_bias: bool = False
) -> None:
    """Replace a projection by one of another width along one weight axis."""
    old = model.get_submodule(path)
    shape = list(old.get_parameter("weight").shape)
    shape[axis] = width
    if isinstance(old, Conv1D):
        _swap(model, path, Conv1D(shape[1], shape[0]))
    else:
        bias = add_bias or old.bias is not None
        _swap(model, path, nn.Linear(shape[1], shape[0], bias=bias))


def _shrink_attention(
    model: PreTrainedModel, row: Anatomy, structure: Structure, layer: int
) -> None:
    parts, path = structure.layers[layer], row.attention_path(layer)
    if not parts.heads:
        dropout = getattr(model.config, row.dropout_key) if row.dropout_key else 0.0
        has_bias = parts.has_attention and structure.attention_output_bias
        empty = EmptyAttention(layer, structure.hidden_size, row.output, has_bias, dropout)
        _swap(model, path, empty)
        return
    if row.has_slopes:
        _swap(
            model, path, KeptSlopesAttention(cast("BloomConfig", model.config), layer, parts.heads)
        )
    width = len(parts.heads) * structure.head_dim
    kv_width = len(structure.kv_heads(layer)) * structure.head_dim
    for projection in row.inputs:
        total = sum(width if part == "query" else kv_width for part in projection.parts)
        _swap_projection(model, f"{path}.{projection.name}", row.input_axis, total)
    add_bias = structure.attention_output_bias
    _swap_projection(
        model, row.output_path(layer, "attention"), row.output_axis, width, add_bias=add_bias
    )
    attention = model.get_submodule(path)
    for name in row.width_attributes:
        setattr(attention, name, width)
    for name in row.count_attributes:
        setattr(attention, name, len(parts.heads))
    if row.group_attribute:
        sizes = structure.group_sizes(layer)
        is_ragged = structure.is_ragged(layer)
        setattr(attention, row.group_attribute, 1 if is_ragged else sizes[0])
        attention.ragged_group_sizes = sizes if is_ragged else ()  # type: ignore[assignment]


def _shrink_ffn(model: PreTrainedModel, row: Anatomy, structure: Structure, layer: int) -> None:
    parts, output = structure.layers[layer], row.output_path(layer, "ffn")
    inputs = row.input_paths(layer, "ffn")
    if not parts.neurons:
        has_bias = parts.has_ffn and structure.ffn_output_bias
        _swap(model, output, OutputBias(structure.hidden_size, has_bias))
        for path in inputs:
            model.set_submodule(path, NoNeurons())
        return
    for path in inputs:
        _swap_projection(model, path, row.input_axis, len(parts.neurons))
    add_bias = structure.ffn_output_bias
    _swap_projection(model, output, row.output_axis, len(parts.neurons), add_bias=add_bias)


def shrink(model: PreTrainedModel) -> None:
    """Give a freshly built dense model the shapes that its configuration asks for."""
    if not model.config.is_heterogeneous:
        return
    row, structure = anatomy_of(model.config), structure_of(model.config)
    keeps_norms = norm_stays(model.config)
    for layer, parts in enumerate(structure.layers):
        _shrink_attention(model, row, structure, layer)
        _shrink_ffn(model, row, structure, layer)
        if not parts.has_attention and not keeps_norms:
            model.set_submodule(row.norm_path(layer, "attention"), nn.Identity())
        if not parts.has_ffn and not keeps_norms:
            model.set_submodule(row.norm_path(layer, "ffn"), nn.Identity())
    # the new modules have not seen the family's initialisation yet
    model.post_init()
