"""Scores by position: windows change nothing, limits are reasons, and costs are what they are."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sentinel_research.errors import UsageError
from sentinel_research.evaluation.long_context import (
    LongContext,
    cache_bytes,
    measure_long_context,
    score_positions,
)
from sentinel_research.models.tiny import FAMILIES, RECURRENT, VOCAB_SIZE, tiny_model


def _sequences(num_sequences: int, length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCAB_SIZE - 3, (num_sequences, length))


@pytest.mark.parametrize("window", [1, 7, 40])
@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_windows_with_carried_state_equal_one_pass(family: str, window: int) -> None:
    model = tiny_model(family)
    tokens = torch.from_numpy(_sequences(2, 34))
    with torch.no_grad():
        log_probs = model(tokens).logits[:, :-1].log_softmax(-1)
    expected = -log_probs.gather(2, tokens[:, 1:, None])[..., 0]
    losses, _ = score_positions(model, tokens, window)
    # float32 through three random blocks
    torch.testing.assert_close(losses.float(), expected, rtol=1e-3, atol=1e-3)


def test_forgetting_at_the_edges_of_windows_would_be_seen() -> None:
    model, tokens = tiny_model("sentinel"), torch.from_numpy(_sequences(1, 33))
    losses, _ = score_positions(model, tokens, 8)
    restarted = torch.cat(
        [score_positions(model, tokens[:, at : at + 9], 8)[0] for at in range(0, 32, 8)], 1
    )
    assert torch.allclose(losses[:, :8], restarted[:, :8])
    assert (losses - restarted)[:, 8:].abs().max() > 0.05


def test_buckets_average_what_lies_between_the_lengths() -> None:
    model, sequences = tiny_model("sentinel"), _sequences(5, 33)
    found = measure_long_context(model, sequences, [8, 16, 32], window=8)
    losses, _ = score_positions(model, torch.from_numpy(sequences), 8)
    assert [(one.start, one.stop) for one in found.buckets] == [(0, 8), (8, 16), (16, 32)]
    for bucket in found.buckets:
        part = losses[:, bucket.start : bucket.stop]
        assert bucket.nats_per_token == pytest.approx(part.mean().item(), rel=1e-6)
        assert bucket.perplexity == pytest.approx(math.exp(part.mean().item()), rel=1e-6)
        assert bucket.stderr == pytest.approx(part.mean(1).std().item() / math.sqrt(5), rel=1e-6)
    assert found.num_sequences == 5
    assert found.num_not_finite == 0
    assert found.skipped == {}


def test_single_sequence_has_no_standard_error() -> None:
    found = measure_long_context(tiny_model("sentinel"), _sequences(1, 9), [8], window=8)
    assert found.buckets[0].stderr is None


def test_state_stays_as_large_as_it_is_and_keys_grow() -> None:
    sizes = {}
    for family in ("mamba", "llama"):
        found = measure_long_context(tiny_model(family), _sequences(1, 33), [8, 32], window=8)
        assert [cost.length for cost in found.costs] == [8, 32]
        assert all(cost.tokens_per_second > 0 for cost in found.costs)
        sizes[family] = [cost.cache_bytes for cost in found.costs]
    assert sizes["mamba"][0] == sizes["mamba"][1] > 0
    # 3 layers, 4 key/value heads of width 6, keys and values, float32
    assert sizes["llama"] == [8 * 3 * 4 * 6 * 2 * 4, 32 * 3 * 4 * 6 * 2 * 4]


def test_empty_cache_holds_nothing() -> None:
    model = tiny_model("sentinel")
    _, cache = score_positions(model, torch.from_numpy(_sequences(1, 3)), 2)
    assert cache_bytes(cache) > 0
    cache.layers.clear()
    assert cache_bytes(cache) == 0


def test_length_beyond_the_context_is_skipped_with_its_reason() -> None:
    found = measure_long_context(tiny_model("gpt2"), _sequences(2, 129), [32, 64, 128], window=16)
    assert [bucket.stop for bucket in found.buckets] == [32, 64]
    assert found.skipped == {128: "the model's context is 64 tokens"}


def test_no_length_within_the_context_gives_reasons_only() -> None:
    found = measure_long_context(tiny_model("gpt2"), _sequences(2, 129), [128], window=16)
    assert found == LongContext((), (), 2, 0, {128: "the model's context is 64 tokens"})


def test_token_that_is_not_finite_is_counted_and_in_no_mean() -> None:
    model = tiny_model("sentinel")

    class Breaks(nn.Module):
        def __init__(self, head: nn.Module) -> None:
            super().__init__()
            self.head = head

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            logits = self.head(hidden)
            logits[:, 3] = torch.nan
            return logits

    sequences = _sequences(2, 9)
    expected, _ = score_positions(model, torch.from_numpy(sequences), 8)
    model.lm_head = Breaks(model.lm_head)
    found = measure_long_context(model, sequences, [8], window=8)
    assert found.num_not_finite == found.buckets[0].num_not_finite == 2
    kept = expected[:, [0, 1, 2, 4, 5, 6, 7]].mean().item()
    assert found.buckets[0].nats_per_token == pytest.approx(kept, rel=1e-6)


@pytest.mark.parametrize(
    ("lengths", "window", "message"),
    [
        ([], 4, r"lengths \[\]"),
        ([8, 4], 4, r"lengths \[8, 4\]"),
        ([0, 4], 4, r"lengths \[0, 4\]"),
        ([8], 0, "a window of 0 tokens"),
        ([8, 64], 4, "sequences of 33 tokens predict 32, the longest length is 64"),
    ],
)
def test_impossible_request_is_refused(lengths: list[int], window: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure_long_context(tiny_model("sentinel"), _sequences(1, 33), lengths, window=window)
