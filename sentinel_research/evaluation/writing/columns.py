"""Caches of sequences of different lengths in one batch: all of them end in the same column.

Keys and values in front of a sequence's first token are nobody's, and a mask has to hide them. A
recurrent state has no columns, so that nothing has to be done about it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, DynamicCache
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from sentinel_research.models.sentinel.cache import ResolventCacheLayer

_KNOWN = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, ResolventCacheLayer)


def has_known_columns(cache: Cache) -> bool:
    """Whether `fit` and `join` know every kind of layer of a cache."""
    return type(cache) is DynamicCache and all(type(layer) in _KNOWN for layer in cache.layers)


def fit(cache: Cache, num_columns: int) -> None:
    """Make a cache end in another column, in place.

    Columns are added or dropped in front: those that are dropped must be nobody's.

    Args:
        cache: Filled, of known layers.
        num_columns: Positions that it takes itself to have seen.
    """
    layers: Any = cache.layers
    for layer in layers:
        assert type(layer) in _KNOWN
        if isinstance(layer, DynamicLayer):
            # filled
            assert layer.keys is not None
            assert layer.values is not None
            kept = num_columns
            if isinstance(layer, DynamicSlidingWindowLayer):
                # what the next token can still see of its window
                kept = min(num_columns, layer.sliding_window - 1)
                layer.cumulative_length = num_columns
            layer.keys, layer.values = _last(layer.keys, kept), _last(layer.values, kept)
        elif isinstance(layer, ResolventCacheLayer):
            layer.cumulative_length = num_columns


def join(cache: Cache, other: Cache) -> None:
    """Put the sequences of another cache, which ends in the same column, behind those of one.

    Args:
        cache: Changed in place; filled, of known layers.
        other: Of the same model.
    """
    layers: Any = zip(cache.layers, other.layers, strict=True)
    for layer, added in layers:
        if isinstance(layer, DynamicLayer):
            for name in ("keys", "values"):
                setattr(layer, name, torch.cat([getattr(layer, name), getattr(added, name)]))
        else:
            for name in ("conv_states", "recurrent_states"):
                own, others = getattr(layer, name), getattr(added, name)
                for index, state in own.items():
                    # a layer without a convolution keeps nothing for it
                    if state is not None:
                        own[index] = torch.cat([state, others[index]])


def _last(
    states: Float[Tensor, "batch heads columns dim"], num_columns: int
) -> Float[Tensor, "batch heads num_columns dim"]:
    """The last columns, with zeros in front of them where there are fewer."""
    return pad(states, (0, 0, num_columns - states.shape[2], 0))
