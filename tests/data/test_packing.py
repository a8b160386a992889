"""Packing: every token once, in order, in sequences of one length."""

import numpy as np
import pytest

from sentinel_research.data.packing import pack, sample_sequences, separator_id
from sentinel_research.data.synthetic import SyntheticLanguage, word_tokenizer
from sentinel_research.errors import DataError, UsageError

WORDS = [f"w{index}" for index in range(50)]
TOKENIZER = word_tokenizer(WORDS)
BOS = TOKENIZER.bos_token_id


def test_packed_tokens_are_the_documents_in_order_each_behind_bos() -> None:
    texts = ["w0 w1 w2", "w3", "w4 w5 w6 w7"]
    packed = pack(texts, TOKENIZER, 3)
    expected = [BOS, 0, 1, 2, BOS, 3, BOS, 4, 5, 6, 7]
    assert packed.sequences.dtype == np.int64
    assert packed.sequences.tolist() == [expected[0:3], expected[3:6], expected[6:9]]
    assert packed.num_dropped_tokens == 2


def test_synthetic_sequence_is_bos_and_one_document() -> None:
    language = SyntheticLanguage()
    texts = language.sample(7, seed=0)
    tokenizer = word_tokenizer(language.vocabulary)
    packed = pack(texts, tokenizer, language.document_length + 1)
    assert packed.num_dropped_tokens == 0
    assert [tokenizer.decode(row) for row in packed.sequences] == [f"<bos> {t}" for t in texts]


def test_tokenizer_without_bos_and_eos_packs_without_separator() -> None:
    tokenizer = word_tokenizer(WORDS)
    tokenizer.bos_token = None
    assert separator_id(tokenizer) == tokenizer.eos_token_id
    tokenizer.eos_token = None
    assert separator_id(tokenizer) is None
    assert pack(["w0 w1", "w2 w3"], tokenizer, 2).sequences.tolist() == [[0, 1], [2, 3]]


def test_too_little_text_is_an_error_with_its_numbers() -> None:
    with pytest.raises(DataError, match="1 texts of 3 tokens"):
        pack(["w0 w1"], TOKENIZER, 4)
    with pytest.raises(DataError, match="need 12 tokens; the corpus has 9"):
        sample_sequences(["w0 w1", "w2 w3", "w4 w5"], TOKENIZER, 3, 4, seed=0)


def test_sampled_sequences_depend_on_the_seed_alone() -> None:
    texts = [f"w{index} w{(index + 1) % 50}" for index in range(50)]
    first = sample_sequences(texts, TOKENIZER, 7, 3, seed=1)
    assert first.shape == (7, 3)
    assert (first == sample_sequences(texts, TOKENIZER, 7, 3, seed=1)).all()
    assert (first != sample_sequences(texts, TOKENIZER, 7, 3, seed=2)).any()
    # no document is drawn twice
    assert len(set(first[:, 1].tolist())) == 7


def test_sampled_sequences_come_from_all_over_a_long_document() -> None:
    book = " ".join(WORDS[index * 50 // 10_000] for index in range(10_000))
    sequences = sample_sequences([book], TOKENIZER, 40, 7, seed=0)
    words = set(sequences.ravel().tolist()) - {BOS}
    assert min(words) < 15
    assert max(words) >= 35


@pytest.mark.parametrize(("num_sequences", "sequence_length"), [(0, 4), (1, 1)])
def test_sizes_out_of_range_are_refused(num_sequences: int, sequence_length: int) -> None:
    with pytest.raises(UsageError):
        sample_sequences(["w0 w1 w2"], TOKENIZER, num_sequences, sequence_length, seed=0)
