"""What models are trained on: blocks of one corpus or several, in stated shares."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, strategies

from sentinel_research.data import training_set as module
from sentinel_research.data.byte_level import NUM_BYTES, byte_tokenizer
from sentinel_research.data.provenance import Provenance, attach, hash_texts
from sentinel_research.data.training_set import (
    TrainingSet,
    corpus_tokenizer,
    hash_blocks,
    share_out,
    spread,
    training_set,
    whole_batches,
)
from sentinel_research.errors import DataError, UsageError
from sentinel_research.specs import TrainSpec

TEXTS = {
    ("one", "train"): ["a" * 99, "b" * 49],
    ("two", "train"): ["c" * 59],
    ("one", "validation"): ["d" * 29],
    ("two", "validation"): ["e" * 49],
}


def _spec(**changes: object) -> TrainSpec:
    given = {"corpus": ["one", "two"], "num_steps": 1, "sequence_length": 10}
    return TrainSpec.model_validate({**given, **changes})


@pytest.fixture(autouse=True)
def _corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str) -> Dataset:
        texts = TEXTS[name, split]
        made = Provenance("synthetic", "test", None, split, len(texts), hash_texts(texts))
        return attach(Dataset.from_dict({"text": texts}), made)

    monkeypatch.setattr(module, "load_corpus", load)


def _letters(blocks: np.ndarray) -> list[str]:
    """The last byte of every block, as its corpus wrote it."""
    tokenizer = byte_tokenizer()
    return [str(tokenizer.decode(row[-1])) for row in blocks.tolist()]


def _assert_equal(one: TrainingSet, other: TrainingSet) -> None:
    assert one.report == other.report
    assert np.array_equal(one.blocks, other.blocks)
    assert (one.validation is None) == (other.validation is None)
    if one.validation is not None:
        assert np.array_equal(one.validation, other.validation)


def test_corpora_follow_one_another_and_no_block_spans_two() -> None:
    found = training_set(_spec(), byte_tokenizer())
    assert _letters(found.blocks) == ["a"] * 10 + ["b"] * 5 + ["c"] * 6
    assert found.blocks[15, 0] == NUM_BYTES  # the second corpus begins with its <bos>
    assert found.report["num_blocks"] == {"one": 15, "two": 6}
    assert found.report["blocks_sha256"] == hash_blocks(found.blocks)
    assert found.validation is None


def test_validation_reads_the_validation_splits_evenly() -> None:
    whole = training_set(_spec(validate_every=1), byte_tokenizer())
    assert whole.validation is not None
    assert _letters(whole.validation) == ["d"] * 3 + ["e"] * 5
    few = training_set(_spec(validate_every=1, validation_blocks=4), byte_tokenizer())
    assert few.validation is not None
    assert _letters(few.validation) == ["d", "d", "e", "e"]
    assert few.report["num_validation_blocks"] == 4


def test_shares_are_reached_without_repeating_a_block() -> None:
    found = training_set(_spec(shares={"one": 0.25, "two": 0.75}), byte_tokenizer())
    assert found.report["num_blocks"] == {"one": 2, "two": 6}
    assert _letters(found.blocks) == ["a", "a"] + ["c"] * 6


def test_set_is_made_once_for_equal_tokenizers_and_whatever_else_training_asks_for() -> None:
    first = training_set(_spec(), byte_tokenizer())
    assert training_set(_spec(num_steps=9, batch_size=2, seed=5), byte_tokenizer()) is first


@pytest.mark.parametrize(
    "changes",
    [
        {"corpus": "one"},
        {"sequence_length": 11},
        {"shares": {"one": 0.25, "two": 0.75}},
        {"validate_every": 1},
        {"validate_every": 1, "validation_blocks": 3},
    ],
    ids=str,
)
def test_set_is_made_anew_for_another_request(changes: dict[str, object]) -> None:
    training_set(_spec(validate_every=changes.get("validate_every")), byte_tokenizer())
    found = training_set(_spec(**changes), byte_tokenizer())
    module._kept.cache_clear()
    _assert_equal(found, training_set(_spec(**changes), byte_tokenizer()))


def test_set_is_made_anew_for_another_tokenizer() -> None:
    first = training_set(_spec(), byte_tokenizer())
    other, without = byte_tokenizer(), byte_tokenizer()
    other.add_tokens("aa")
    without.bos_token = None
    assert len(training_set(_spec(), other).blocks) < len(first.blocks)
    assert without.eos_token_id in training_set(_spec(), without).blocks


def test_set_is_made_anew_for_another_text_or_name(monkeypatch: pytest.MonkeyPatch) -> None:
    training_set(_spec(), byte_tokenizer())
    monkeypatch.setitem(TEXTS, ("two", "train"), ["z" * 59])
    monkeypatch.setitem(TEXTS, ("three", "train"), ["z" * 59])
    assert _letters(training_set(_spec(), byte_tokenizer()).blocks)[-1] == "z"
    renamed = training_set(_spec(corpus=["one", "three"]), byte_tokenizer())
    assert list(renamed.report["num_blocks"]) == ["one", "three"]


@given(
    counts=strategies.lists(strategies.integers(1, 500), min_size=2, max_size=4),
    weights=strategies.lists(strategies.integers(1, 9), min_size=4, max_size=4),
)
def test_shares_use_up_one_corpus_and_are_off_by_half_a_block_at_most(
    counts: list[int], weights: list[int]
) -> None:
    there = {str(index): count for index, count in enumerate(counts)}
    total = sum(weights[: len(counts)])
    shares = {name: weights[int(name)] / total for name in there}
    limit = min(there[name] / shares[name] for name in there)
    try:
        chosen = share_out(there, shares)
    except DataError:
        assert any(round(limit * share) == 0 for share in shares.values())
        return
    assert all(0 < chosen[name] <= there[name] for name in there)
    assert any(chosen[name] == there[name] for name in there)
    # half a block, and the rounding of the binary fractions
    assert all(abs(chosen[name] - limit * shares[name]) <= 0.5 + 1e-9 for name in there)


@given(rows=strategies.integers(1, 300), data=strategies.data())
def test_spread_rows_are_different_in_order_and_even(
    rows: int, data: strategies.DataObject
) -> None:
    number = data.draw(strategies.integers(1, rows))
    found = spread(np.arange(rows)[:, None], number)[:, 0]
    steps = np.diff(np.append(found, rows))
    assert len(found) == number
    assert found[0] == 0
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1


def test_natural_text_needs_a_tokenizer_and_the_synthetic_language_has_one() -> None:
    with pytest.raises(UsageError, match="one and two needs a tokenizer") as caught:
        corpus_tokenizer(_spec())
    assert "bytes" in caught.value.hint
    assert corpus_tokenizer(_spec(corpus="synthetic")).unk_token == "<unk>"


@given(rows=strategies.integers(0, 60), size=strategies.integers(1, 20))
def test_training_uses_whole_batches_and_leaves_out_less_than_one(rows: int, size: int) -> None:
    blocks = np.arange(2 * rows).reshape(rows, 2)
    if rows < size:
        with pytest.raises(DataError, match=f"fewer than one batch of {size}"):
            whole_batches(blocks, size)
        return
    kept = whole_batches(blocks, size)
    assert len(kept) % size == 0
    assert rows - size < len(kept) <= rows
    assert np.array_equal(kept, blocks[: len(kept)])
