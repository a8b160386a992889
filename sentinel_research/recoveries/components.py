"""Which component of a model a parameter belongs to, for every family of the anatomy table."""

from typing import Literal, NamedTuple

from transformers import PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.anatomy_schema import Anatomy

Component = Literal["embeddings", "attention", "feed_forward", "norms", "head", "other"]
# OPT's map from the hidden state to the width of the embeddings
_HEAD_SIDE = ("project_out",)
# BLOOM's, in front of the first layer
_FIRST_NORMS = ("word_embeddings_layernorm",)
# connections and frozen states that agency adds beside the family's own parts
_ADDED = "agency_"


class Place(NamedTuple):
    """Where a parameter belongs."""

    component: Component
    """`other` is what agency adds beside the gates."""
    depth: int
    """Index of the layer; -1 in front of the first one, that of the last one behind it."""


def places(model: PreTrainedModel) -> dict[str, Place]:
    """The place of every parameter, by its first name: a tied one is counted once.

    Attention owns its projections with their biases and its gates, feed-forward its projections; a
    layer's two norms, the last norm and BLOOM's first one are norms. Embeddings are tokens,
    positions and OPT's map into the hidden size, the head is the output matrix and OPT's map out of
    it. A head that is tied to the token embeddings is part of them.

    Raises:
        UsageError: if the family is unknown.
    """
    row = anatomy_of(model.config)
    head = model.get_output_embeddings()
    heads = tuple(f"{name}." for name, module in model.named_modules() if module is head)
    last = len(row.attentions(model)) - 1
    return {
        name: _in_layer(row, name) or _outside(model, name, heads, last)
        for name, _ in model.named_parameters()
    }


def _in_layer(row: Anatomy, name: str) -> Place | None:
    if not name.startswith(f"{row.layers}."):
        return None
    index, _, rest = name.removeprefix(f"{row.layers}.").partition(".")
    parts: dict[Component, tuple[str, ...]] = {
        "attention": (row.attention,),
        "norms": (row.attention_norm, row.ffn_norm),
        "feed_forward": (row.ffn,) if row.ffn else (*row.ffn_inputs, row.ffn_output),
    }
    for component, names in parts.items():
        # OPT's `self_attn` is the beginning of its `self_attn_layer_norm`
        if rest.startswith(tuple(f"{one}." for one in names)):
            return Place(component, int(index))
    raise AssertionError(f"the anatomy of {row.family} has no place for {name}")


def _outside(model: PreTrainedModel, name: str, heads: tuple[str, ...], last: int) -> Place:
    path = name.rpartition(".")[0]
    owner = path.rpartition(".")[2]
    if name.startswith(_ADDED):
        return Place("other", last)
    if name.startswith(heads) or owner in _HEAD_SIDE:
        return Place("head", last)
    if "Norm" in type(model.get_submodule(path)).__name__:
        return Place("norms", -1 if owner in _FIRST_NORMS else last)
    return Place("embeddings", -1)
