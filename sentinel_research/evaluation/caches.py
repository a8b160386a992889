"""The caches of models: under each family's own name, and copied for several to go on."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.models.mamba.modeling_mamba import MambaMixer

from sentinel_research.models.agency import spec_of
from sentinel_research.models.anatomy import ANATOMIES, family_of
from sentinel_research.models.mamba import ScanMixer
from sentinel_research.models.placement import num_computing
from sentinel_research.models.sentinel import SentinelConfig

KNOWN_FAMILIES = frozenset({*ANATOMIES, "mamba", "mamba2", SentinelConfig.model_type})
"""Families whose caches somebody has looked at."""
# what families call the state that they carry
_NAMES = ("cache_params", "past_key_values")


def cache_name(model: PreTrainedModel) -> str | None:
    """What a model's `forward` calls its cache; None if it carries no state."""
    names = inspect.signature(model.forward).parameters
    return next((name for name in _NAMES if name in names), None)


def goes_on(model: PreTrainedModel) -> bool:
    """Whether several tokens behind a cache are known to be read as they are without one.

    transformers 5.23 starts the scan of Mamba, and of what is built on it, from zero there; ours
    does not. Families that nobody has looked at, and models with agency, do not count.

    Args:
        model: On its device.
    """
    if cache_name(model) is None or spec_of(model.config) is not None:
        return False
    if num_computing(model) > 1:
        # keys and values would be on several devices
        return False
    family = family_of(model.config)
    if family == "mamba":
        mixers = [module for module in model.modules() if isinstance(module, MambaMixer)]
        return model.device.type == "cpu" and all(isinstance(one, ScanMixer) for one in mixers)
    if family == "mamba2":
        return model.device.type == "cpu"
    return family in KNOWN_FAMILIES


def empty_cache(model: PreTrainedModel) -> Cache:
    """A cache to begin with."""
    return DynamicCache(config=model.config)


def given(model: PreTrainedModel, cache: Cache) -> dict[str, Any]:
    """A cache as `forward` of a model that carries state takes it."""
    name = cache_name(model)
    assert name is not None  # the caller's model has one
    return {name: cache, "use_cache": True}


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
