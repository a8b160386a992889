"""Caches of sequences of different lengths end in the same column."""

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel, QuantizedCache

from sentinel_research.evaluation.caches import empty_cache, given
from sentinel_research.evaluation.writing.columns import fit, has_known_columns, join
from sentinel_research.models.tiny import FAMILIES, RECURRENT, tiny_model


@torch.no_grad()
def _filled(model: PreTrainedModel, num_rows: int, length: int) -> DynamicCache:
    cache = empty_cache(model)
    ids = torch.arange(num_rows * length).reshape(num_rows, length)
    model(ids, **given(model, cache))
    return cache


@pytest.mark.parametrize("num_columns", [3, 7, 11])
@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_fitted_cache_takes_itself_to_have_seen_its_columns(family: str, num_columns: int) -> None:
    model = tiny_model(family)
    cache, expected = _filled(model, 1, 7), _filled(model, 1, num_columns)
    fit(cache, num_columns)
    for layer, other in zip(cache.layers, expected.layers, strict=True):
        if hasattr(other, "get_seq_length"):
            assert layer.get_seq_length() == other.get_seq_length() == num_columns
            assert layer.get_mask_sizes(1) == other.get_mask_sizes(1)
        if getattr(other, "keys", None) is not None:
            assert layer.keys.shape == other.keys.shape
            assert layer.values.shape == other.values.shape


def test_columns_are_added_and_dropped_in_front() -> None:
    cache = _filled(tiny_model("llama"), 1, 4)
    keys = cache.layers[0].keys
    fit(cache, 6)
    assert torch.equal(cache.layers[0].keys[:, :, 2:], keys)
    assert not cache.layers[0].keys[:, :, :2].any()
    fit(cache, 3)
    assert torch.equal(cache.layers[0].keys, keys[:, :, 1:])


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_joined_rows_come_behind_those_that_were_there(family: str) -> None:
    model = tiny_model(family)
    cache, other = _filled(model, 2, 5), _filled(model, 1, 5)
    join(cache, other)
    both = _filled(model, 2, 5)
    for layer, own, added in zip(cache.layers, both.layers, other.layers, strict=True):
        if getattr(own, "keys", None) is not None:
            assert torch.equal(layer.keys, torch.cat([own.keys, added.keys]))
            assert torch.equal(layer.values, torch.cat([own.values, added.values]))
        else:
            states = torch.cat([own.recurrent_states[0], added.recurrent_states[0]])
            assert torch.equal(layer.recurrent_states[0], states)


def test_caches_that_nobody_looked_at_are_not_known() -> None:
    config = tiny_model("llama").config
    assert has_known_columns(DynamicCache(config=config))
    assert not has_known_columns(QuantizedCache.__new__(QuantizedCache))
