"""N-gram floors: exact counts and Witten-Bell's chances, against a slow oracle of dictionaries."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from hypothesis.extra import numpy as arrays

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.packing import pack
from sentinel_research.data.synthetic import SyntheticLanguage, word_tokenizer
from sentinel_research.errors import UsageError
from sentinel_research.models.ngram import NgramCounts, NgramForCausalLM, nats_per_token

VOCAB = 5
blocks_of_tokens = arrays.arrays(
    np.int64,
    strategies.tuples(strategies.integers(1, 6), strategies.integers(2, 9)),
    elements=strategies.integers(0, VOCAB - 1),
)


class Oracle:
    """Witten and Bell's formula, word by word."""

    def __init__(self, blocks: np.ndarray, order: int) -> None:
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for block in blocks.tolist():
            for place in range(1, len(block)):
                for length in range(min(order - 1, place) + 1):
                    self.counts[tuple(block[place - length : place])][block[place]] += 1

    def chance(self, context: tuple[int, ...], token: int) -> float:
        shorter = self.chance(context[1:], token) if context else 1 / VOCAB
        seen = self.counts.get(context)
        if not seen:
            return shorter
        return (seen[token] + len(seen) * shorter) / (seen.total() + len(seen))


@given(
    blocks=blocks_of_tokens, order=strategies.integers(1, 4), row=arrays.arrays(
        np.int64, strategies.integers(1, 7), elements=strategies.integers(0, VOCAB - 1)
    )
)  # fmt: skip
def test_chances_agree_with_the_formula_behind_every_context(
    blocks: np.ndarray, order: int, row: np.ndarray
) -> None:
    oracle = Oracle(blocks, order)
    found = np.exp(NgramCounts(blocks, order, VOCAB).log_probs(row[None, :]))[0]
    for end in range(1, len(row) + 1):
        context = tuple(row[max(0, end - order + 1) : end].tolist())
        expected = [oracle.chance(context, token) for token in range(VOCAB)]
        # a logarithm and an exponential of float64
        assert found[end - 1] == pytest.approx(expected, rel=1e-12)


@given(blocks=blocks_of_tokens, order=strategies.integers(1, 4))
def test_chances_behind_every_context_sum_to_one_and_are_above_zero(
    blocks: np.ndarray, order: int
) -> None:
    counts = NgramCounts(blocks, order, VOCAB)
    contexts = list(itertools.product(range(VOCAB), repeat=order - 1))
    rows = counts.probabilities(
        np.array(contexts, dtype=np.int64).reshape(VOCAB ** (order - 1), order - 1)
    )
    assert rows.min() > 0
    # float64 sums of five numbers
    assert rows.sum(axis=1) == pytest.approx(np.ones(len(contexts)), rel=1e-14)


def test_model_behind_the_interface_of_a_causal_lm_gives_the_same_chances() -> None:
    blocks = np.random.default_rng(0).integers(0, VOCAB, size=(20, 8))
    counts = NgramCounts(blocks, 3, VOCAB)
    ids = torch.from_numpy(blocks[:3])
    logits = NgramForCausalLM(counts)(input_ids=ids).logits
    assert logits.dtype is torch.float32
    # normalised already, so a softmax changes nothing but the rounding of float32
    assert torch.allclose(logits.log_softmax(-1), logits, atol=1e-6)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert float(loss) == pytest.approx(nats_per_token(counts, blocks[:3]), rel=1e-6)


def test_longer_contexts_help_and_none_beats_the_source_of_the_text() -> None:
    language = SyntheticLanguage()
    tokenizer = word_tokenizer(language.vocabulary)
    train = pack(list(load_corpus("synthetic", "train")["text"][:1024]), tokenizer, 128).sequences
    documents = load_corpus("synthetic", "test")
    test = pack(list(documents["text"][:64]), tokenizer, 128).sequences
    losses = [
        nats_per_token(NgramCounts(train, order, len(tokenizer)), test) for order in (1, 2, 3)
    ]
    source = -sum(documents["log_prob"][:64]) / (64 * 127)
    assert losses[0] > losses[1] > source + 0.05
    # of so few documents a third of the trigrams is new, which smoothing must not make worse
    assert source < losses[2] < losses[1] + 0.05
    assert losses[0] < math.log(len(tokenizer))


def test_order_without_a_number_of_64_bits_and_order_zero_are_refused() -> None:
    blocks = np.zeros((1, 4), dtype=np.int64)
    with pytest.raises(UsageError, match="n-grams of 5 tokens of a vocabulary of 50,257"):
        NgramCounts(blocks, 5, 50_257)
    with pytest.raises(UsageError, match="an n-gram of 0 tokens"):
        NgramCounts(blocks, 0, 5)
