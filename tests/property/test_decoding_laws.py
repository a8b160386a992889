"""Laws of decoding: the cache changes what is computed when, never what comes out.

transformers asks layer 0 how many positions went by, so that layer without heads, or without its
attention block, is where a cache goes wrong without an error.
"""

import pytest
import torch
from hypothesis import given, strategies
from transformers import DynamicCache, PreTrainedModel, StaticCache
from transformers.cache_utils import Cache

from sentinel_research.models import structure_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import make_plan, mask, remove
from tests.property.conftest import assert_close, cases, every_family, logits_of, share

pytestmark = pytest.mark.filterwarnings("ignore:.*is_compileable.*")
every_first_layer = pytest.mark.parametrize("first", ["any", "no heads", "no block"])


def _cache(kind: str, model: PreTrainedModel, length: int) -> Cache:
    if kind == "dynamic":
        return DynamicCache(config=model.config)
    return StaticCache(config=model.config, max_cache_len=length)


@every_first_layer
@every_family
@share(0.5)
@given(data=strategies.data())
def test_decoding_with_a_cache_equals_the_full_pass(
    family: str, first: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, first=first))
    pruned = remove(model, plan)
    full = logits_of(mask(model, plan), inputs)
    ids = inputs["input_ids"]
    length = ids.shape[1]
    visible = inputs.get("attention_mask", torch.ones_like(ids))
    split = data.draw(strategies.integers(1, length))
    steps = [(0, split), *((start, start + 1) for start in range(split, length))]
    for kind in ("dynamic", "static"):
        room = length + (3 if kind == "static" else 0)
        cache, stepped = _cache(kind, pruned, room), []
        for start, stop in steps:
            more = {}
            if "attention_mask" in inputs:
                # BLOOM takes the number of keys from the mask, and a static cache shows all of its
                # room; OPT takes positions from it
                whole = family == "bloom" and kind == "static"
                seen = torch.zeros(2, room if whole else stop, dtype=torch.long)
                seen[:, :stop] = visible[:, :stop]
                more = {"attention_mask": seen}
            with torch.no_grad():
                out = pruned(ids[:, start:stop], past_key_values=cache, use_cache=True, **more)
            stepped.append(out.logits)
            assert int(cache.get_seq_length()) == stop
        assert_close(torch.cat(stepped, dim=1)[visible.bool()], full.flatten(0, -2))
        # one entry per surviving KV group, and one to count positions where there is none
        for layer, cached in enumerate(cache.layers):
            groups = len(structure_of(pruned.config).kv_heads(layer))
            assert cached.keys.shape[1] == max(1, groups)


@every_first_layer
@every_family
@share(0.3)
@given(data=strategies.data())
def test_generated_text_does_not_depend_on_the_cache_or_its_kind(
    family: str, first: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, first=first))
    pruned = remove(model, plan)
    visible = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    for beams in (1, 3):
        arguments = {
            "attention_mask": visible,
            "max_new_tokens": 4,
            "do_sample": False,
            "num_beams": beams,
        }
        without = pruned.generate(inputs["input_ids"], use_cache=False, **arguments)
        assert without.shape[1] > inputs["input_ids"].shape[1]
        for kind in ("dynamic", "static"):
            cached = pruned.generate(inputs["input_ids"], cache_implementation=kind, **arguments)
            assert torch.equal(cached, without), (kind, beams)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_static_cache_filled_in_chunks_has_room_for_the_heads_that_are_left(family: str) -> None:
    """A prompt in chunks makes `generate` allocate all layers beforehand."""
    model = tiny_model(family)
    pruned = remove(model, make_plan(structure_of(model.config), [[], [0, 1, 2], [3, 4]]))
    ids = torch.arange(3, 21).view(2, 9)
    arguments = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    static = {"cache_implementation": "static", "prefill_chunk_size": 4, "disable_compile": True}
    found = pruned.generate(ids, **static, **arguments)
    assert torch.equal(found, pruned.generate(ids, **arguments))
