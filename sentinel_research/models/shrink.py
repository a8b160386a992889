"""Give a dense model's attention the shapes of a pruned one. Shapes only: no weight is kept.

Works on the meta device too, so that `from_pretrained` can build the shapes and then load.
"""

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sentinel_research.models.anatomy import Anatomy, anatomy_of
from sentinel_research.models.attention import EmptyAttention
from sentinel_research.models.heads import Heads, heads_of


def _swap_projection(parent: nn.Module, name: str, axis: int, width: int) -> None:
    """Replace a projection by an uninitialised one of another width along one weight axis."""
    old = parent.get_submodule(name)
    weight = old.get_parameter("weight")
    shape = list(weight.shape)
    shape[axis] = width
    if isinstance(old, Conv1D):
        new: nn.Module = Conv1D(shape[1], shape[0])
    else:
        new = nn.Linear(shape[1], shape[0], bias=old.bias is not None)
    setattr(parent, name, new.to(device=weight.device, dtype=weight.dtype))


def _shrink_layer(attention: nn.Module, row: Anatomy, heads: Heads, layer: int) -> None:
    num_heads = len(heads.kept[layer])
    num_kv_heads = len(heads.kv_kept(layer))
    for projection in row.inputs:
        counts = [num_heads if part == "query" else num_kv_heads for part in projection.parts]
        width = sum(counts) * heads.head_dim
        _swap_projection(attention, projection.name, row.input_axis, width)
    _swap_projection(attention, row.output, row.output_axis, num_heads * heads.head_dim)
    for name in row.width_attributes:
        setattr(attention, name, num_heads * heads.head_dim)
    for name in row.count_attributes:
        setattr(attention, name, num_heads)
    if row.group_attribute:
        sizes = heads.group_sizes(layer)
        is_ragged = heads.is_ragged(layer)
        setattr(attention, row.group_attribute, 1 if is_ragged else sizes[0])
        attention.ragged_group_sizes = sizes if is_ragged else ()  # type: ignore[assignment]


def shrink(model: PreTrainedModel) -> None:
    """Give a freshly built dense model the attention shapes that its configuration asks for."""
    row = anatomy_of(model.config)
    heads = heads_of(model.config)
    for layer, attention in enumerate(row.attentions(model)):
        if heads.kept[layer]:
            _shrink_layer(attention, row, heads, layer)
            continue
        weight = attention.get_submodule(row.output).get_parameter("weight")
        dropout = getattr(model.config, row.dropout_key) if row.dropout_key else 0.0
        empty = EmptyAttention(layer, heads.hidden_size, row.output, heads.has_bias, dropout).to(
            device=weight.device, dtype=weight.dtype
        )
        setattr(model.get_submodule(f"{row.layers}.{layer}"), row.attention, empty)
    # the new projections have not seen the family's initialisation yet
    model.post_init()
