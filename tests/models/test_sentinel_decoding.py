"""Laws of sequences for `sentinel` models: causality, caches, padding, generation."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from tests.models.sentinel import (
    EVERY,
    MIXERS,
    RECURRENT,
    VOCAB_SIZE,
    assert_close,
    logits_of,
    random_tokens,
    sentinel_model,
)


@EVERY
@pytest.mark.parametrize("kernel", [0, 4])
@pytest.mark.parametrize("pieces", [[1] * 17, [5, 1, 1, 7, 3], [16, 1]], ids=str)
def test_cached_pieces_equal_the_full_pass(mixers: Any, kernel: int, pieces: list[int]) -> None:
    model, tokens = sentinel_model(mixers, resolvent_conv_kernel=kernel), random_tokens()
    cache, found = None, []
    for piece in tokens.split(pieces, 1):
        with torch.no_grad():
            outputs = model(piece, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        found.append(outputs.logits)
    assert_close(torch.cat(found, 1), logits_of(model, tokens))
    assert cache.get_seq_length() == 17


@EVERY
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kernel", [0, 4])
def test_padded_sequence_gives_what_it_gives_alone(mixers: Any, side: str, kernel: int) -> None:
    model = sentinel_model(mixers, resolvent_conv_kernel=kernel)
    tokens, padding = random_tokens(1, 9), torch.zeros(1, 4, dtype=torch.long)
    parts = [padding, tokens] if side == "left" else [tokens, padding]
    padded = torch.cat([torch.cat(parts, 1), random_tokens(1, 13, seed=1)])
    mask = (padded != 0).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    found = logits_of(model, padded, attention_mask=mask, position_ids=positions)[:1]
    kept = found[:, 4:] if side == "left" else found[:, :9]
    assert_close(kept, logits_of(model, tokens))


@RECURRENT
def test_padding_in_a_later_piece_is_cut_off_too(mixers: Any) -> None:
    """A batch of unequal prompts, prefilled in two pieces whose padding reaches into the second."""
    model = sentinel_model(mixers)
    tokens = torch.cat([torch.zeros(1, 6, dtype=torch.long), random_tokens(1, 5)], 1)
    tokens = torch.cat([tokens, random_tokens(1, 11, seed=1)])
    mask = (tokens != 0).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    whole = logits_of(model, tokens, attention_mask=mask, position_ids=positions)
    cache = DynamicCache(config=model.config)
    found = [
        logits_of(
            model,
            tokens[:, start:stop],
            attention_mask=mask[:, :stop],
            position_ids=positions[:, start:stop],
            past_key_values=cache,
        )
        for start, stop in ((0, 4), (4, 11))
    ]
    assert_close(torch.cat(found, 1)[mask.bool()], whole[mask.bool()])


@EVERY
@pytest.mark.parametrize("position", [0, 3, 16])
def test_changing_a_token_leaves_every_earlier_logit_bit_equal(mixers: Any, position: int) -> None:
    model, tokens = sentinel_model(mixers), random_tokens()
    changed = tokens.clone()
    changed[:, position] = 3 + (tokens[:, position] - 2) % (VOCAB_SIZE - 3)
    before, after = logits_of(model, tokens), logits_of(model, changed)
    assert torch.equal(before[:, :position], after[:, :position])
    assert not torch.equal(before[:, position:], after[:, position:])


@EVERY
def test_sequence_does_not_depend_on_the_rest_of_the_batch(mixers: Any) -> None:
    model, tokens = sentinel_model(mixers), random_tokens(3)
    changed = tokens.clone()
    changed[[0, 2]] = random_tokens(2, seed=5)
    assert torch.equal(logits_of(model, tokens)[1], logits_of(model, changed)[1])


@EVERY
@pytest.mark.parametrize("cache_class", [DynamicCache, StaticCache])
def test_either_cache_gives_the_logits_of_the_full_pass(mixers: Any, cache_class: Any) -> None:
    model, tokens = sentinel_model(mixers), random_tokens()
    sizes = {"max_cache_len": 20} if cache_class is StaticCache else {}
    cache = cache_class(config=model.config, **sizes)
    found = [logits_of(model, piece, past_key_values=cache) for piece in tokens.split([9, 7, 1], 1)]
    assert_close(torch.cat(found, 1), logits_of(model, tokens))


@EVERY
@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"prefill_chunk_size": 4}, {"cache_implementation": "static"}],
    ids=["greedy", "beams", "chunked-prefill", "static-cache"],
)
def test_generation_with_a_cache_equals_generation_without(
    mixers: Any, options: dict[str, Any]
) -> None:
    model, tokens = sentinel_model(mixers), random_tokens(2, 9)
    # compilation is another matter, and takes minutes
    shared = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    found = model.generate(tokens, **shared, **options, disable_compile=True)
    beams = {key: value for key, value in options.items() if key == "num_beams"}
    expected = model.generate(tokens, **shared, **beams, use_cache=False)
    assert torch.equal(found, expected)


@EVERY
def test_generation_from_unequal_prompts_equals_one_by_one(mixers: Any) -> None:
    model, short, long = sentinel_model(mixers), random_tokens(1, 5), random_tokens(1, 9, seed=1)
    padded = torch.cat([torch.cat([torch.zeros(1, 4, dtype=torch.long), short], 1), long])
    shared = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    found = model.generate(padded, attention_mask=(padded != 0).long(), **shared)
    assert torch.equal(found[:1, 4:], model.generate(short, **shared))
    assert torch.equal(found[1:], model.generate(long, **shared))


@RECURRENT
def test_state_has_the_same_size_at_any_length(mixers: Any) -> None:
    model = sentinel_model(mixers)
    sizes = []
    for length in (7, 70):
        with torch.no_grad():
            cache = model(random_tokens(1, length), use_cache=True).past_key_values
        layer = cache.layers[model.config.mixers.index("resolvent")]
        sizes.append(sum(one.numel() for one in (layer.conv_states[0], layer.state)))
    assert sizes == [19 * (4 + 4)] * 2


def test_reset_cache_starts_over() -> None:
    model, tokens = sentinel_model(MIXERS["hybrid"]), random_tokens()
    cache = StaticCache(config=model.config, max_cache_len=20)
    first = logits_of(model, tokens, past_key_values=cache)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert torch.equal(logits_of(model, tokens, past_key_values=cache), first)


def test_state_cannot_be_cropped() -> None:
    with torch.no_grad():
        cache = sentinel_model()(random_tokens(), use_cache=True).past_key_values
    with pytest.raises(RuntimeError, match="cannot forget"):
        cache.crop(-1)
