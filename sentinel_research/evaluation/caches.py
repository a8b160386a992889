"""The caches of models: under each family's own name, and copied for several to go on."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel

# what families call the state that they carry
_NAMES = ("cache_params", "past_key_values")


def cache_name(model: PreTrainedModel) -> str | None:
    """What a model's `forward` calls its cache; None if it carries no state."""
    names = inspect.signature(model.forward).parameters
    return next((name for name in _NAMES if name in names), None)


def empty_cache(model: PreTrainedModel) -> Cache:
    """A cache to begin with."""
    return DynamicCache(config=model.config)


def select_rows(cache: Cache, rows: Sequence[int]) -> Cache:
    """A cache of some sequences of another, each as often as it is named.

    Args:
        cache: Of a batch; it is left as it was.
        rows: Places in that batch.
    """
    found = copy.copy(cache)
    found.layers = [_copied(layer) for layer in cache.layers]
    # transformers' own way to rearrange a batch, which all kinds of layers have
    found.reorder_cache(torch.LongTensor(rows))
    return found


def _copied(layer: Any) -> Any:
    """A layer that can be changed without changing the one it was made from."""
    found = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict | list):
            setattr(found, name, copy.copy(value))
    return found
