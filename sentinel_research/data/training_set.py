"""What a model is trained and validated on: blocks of token ids from one corpus or several.

Each corpus is packed on its own (`packing`), in the order of the recipe, so that no block spans
two. Without `shares` every block counts and a corpus weighs as much as it has tokens. With them,
as many blocks are taken as the shares allow without repeating any, evenly over each corpus. Which
blocks these are depends on no seed and no model; training shuffles them by its own seed. The models
of one run are trained on the same set, so the last ones made are kept.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus
from sentinel_research.data.packing import pack, separator_id
from sentinel_research.data.provenance import provenance_of
from sentinel_research.data.synthetic import SyntheticLanguage, word_tokenizer
from sentinel_research.errors import DataError, UsageError
from sentinel_research.specs import TrainSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VALIDATION_SPLIT = "validation"
IGNORED = -100
"""Label of a position that is not trained on, as in transformers."""

# the fields of a spec that a set depends on, beside whether it validates
_READ = ("corpora", "shares", "sequence_length", "validation_blocks")


class TrainingSet(NamedTuple):
    """Blocks to train on, and to validate on."""

    blocks: Int64[np.ndarray, "num_blocks sequence_length"]
    """Token ids of the train splits, corpus by corpus."""
    validation: Int64[np.ndarray, "num_validation_blocks sequence_length"] | None
    """Token ids of the validation splits; None if the spec never validates."""
    report: dict[str, Any]
    """Blocks by corpus and the hash of all of them, for the record."""


def training_set(spec: TrainSpec, tokenizer: "PreTrainedTokenizerBase") -> TrainingSet:
    """Load, tokenise and pack what a spec trains and validates on, or find it among the last two.

    Args:
        spec: Corpora, shares and block length.
        tokenizer: Any tokenizer of transformers; sets made by one that is not of the library
            `tokenizers` are not kept, since its state cannot be compared.

    Returns:
        Blocks that other callers share: copy them to change them.

    Raises:
        UsageError: for an unknown corpus, or one without a validation split.
        DataError: if the data cannot be had, or a corpus does not fill one block.
    """
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return _make(spec, tokenizer)
    splits = [FITTED_SPLIT] + [VALIDATION_SPLIT] * (spec.validate_every is not None)
    state = [
        [getattr(spec, name) for name in _READ],
        [
            provenance_of(load_corpus(corpus, split)).text_sha256
            for split in splits
            for corpus in spec.corpora
        ],
        [separator_id(tokenizer), tokenizer.split_special_tokens],
        tokenizer.backend_tokenizer.to_str(),
    ]
    return _kept(_Asked(hashlib.sha256(repr(state).encode()).hexdigest(), spec, tokenizer))


@dataclass(frozen=True)
class _Asked:
    """What makes a set; equal where it makes the same one."""

    state_sha256: str
    spec: TrainSpec = field(compare=False)
    tokenizer: "PreTrainedTokenizerBase" = field(compare=False)


@lru_cache(maxsize=2)
def _kept(asked: _Asked) -> TrainingSet:
    return _make(asked.spec, asked.tokenizer)


def _make(spec: TrainSpec, tokenizer: "PreTrainedTokenizerBase") -> TrainingSet:
    packed = [_packed(corpus, FITTED_SPLIT, spec, tokenizer) for corpus in spec.corpora]
    if spec.shares is not None:
        counts = {name: len(one) for name, one in zip(spec.corpora, packed, strict=True)}
        chosen = share_out(counts, spec.shares)
        packed = [spread(one, chosen[name]) for name, one in zip(spec.corpora, packed, strict=True)]
    blocks = np.concatenate(packed)
    report: dict[str, Any] = {
        "num_blocks": {name: len(one) for name, one in zip(spec.corpora, packed, strict=True)},
        "blocks_sha256": hash_blocks(blocks),
    }
    validation = None
    if spec.validate_every is not None:
        validation = np.concatenate(
            [_packed(corpus, VALIDATION_SPLIT, spec, tokenizer) for corpus in spec.corpora]
        )
        if spec.validation_blocks is not None:
            validation = spread(validation, min(spec.validation_blocks, len(validation)))
        report["num_validation_blocks"] = len(validation)
        report["validation_blocks_sha256"] = hash_blocks(validation)
    return TrainingSet(blocks, validation, report)


def share_out(counts: dict[str, int], shares: dict[str, float]) -> dict[str, int]:
    """How many blocks of each corpus make a set with these shares, none of them twice.

    Args:
        counts: Blocks that there are, by corpus.
        shares: Positive shares with the sum 1, by corpus.

    Raises:
        DataError: if a share is too small for one block.

    Example:
        >>> share_out({"a": 100, "b": 30}, {"a": 0.75, "b": 0.25})
        {'a': 90, 'b': 30}
    """
    total = min(counts[name] / share for name, share in shares.items())
    # rounded, so that a share like 0.1 does not lose a block to its binary form
    chosen = {name: min(counts[name], round(total * shares[name])) for name in counts}
    for name, number in chosen.items():
        if number == 0:
            raise DataError(
                f"a share of {shares[name]:g} of {total:.0f} blocks leaves none of '{name}'",
                "raise its share, lower `train.sequence_length`, or leave the corpus out",
            )
    return chosen


def spread(
    blocks: Int64[np.ndarray, "num_blocks sequence_length"], number: int
) -> Int64[np.ndarray, "number sequence_length"]:
    """`number` different rows at even distances, in their order.

    Example:
        >>> spread(np.arange(10).reshape(5, 2), 2)[:, 0].tolist()
        [0, 4]
    """
    return blocks[np.arange(number) * len(blocks) // number]


def whole_batches(
    blocks: Int64[np.ndarray, "num_blocks sequence_length"], batch_size: int
) -> Int64[np.ndarray, "num_used sequence_length"]:
    """The blocks that training uses: without the last ones, which do not fill a batch.

    Raises:
        DataError: if they do not fill one.
    """
    if len(blocks) < batch_size:
        raise DataError(
            f"the training split gives {len(blocks)} blocks of {blocks.shape[1]} tokens, "
            f"fewer than one batch of {batch_size}",
            "take smaller batches (`batch_size`), shorter sequences, or more text",
        )
    return blocks[: len(blocks) - len(blocks) % batch_size]


def steps_per_pass(spec: TrainSpec, tokenizer: "PreTrainedTokenizerBase") -> int:
    """Optimiser steps of one pass over a spec's blocks.

    Args:
        spec: Corpora, block length and batch size.
        tokenizer: Any tokenizer of transformers.

    Raises:
        UsageError, DataError: see `training_set` and `whole_batches`.
    """
    blocks = training_set(spec, tokenizer).blocks
    return len(whole_batches(blocks, spec.batch_size)) // spec.batch_size


def hash_blocks(blocks: Int64[np.ndarray, "num_blocks sequence_length"]) -> str:
    """SHA-256 of the token ids as little-endian 64-bit integers, row after row."""
    return hashlib.sha256(np.ascontiguousarray(blocks, dtype="<i8").tobytes()).hexdigest()


def corpus_tokenizer(spec: TrainSpec) -> "PreTrainedTokenizerBase":
    """The tokenizer that belongs to a corpus: only the synthetic language has one.

    Raises:
        UsageError: for natural text, where the tokenizer is a choice of the user's.
    """
    if spec.corpora != ("synthetic",):
        raise UsageError(
            f"training on {' and '.join(spec.corpora)} needs a tokenizer",
            "give `model.tokenizer`: bytes, a folder, or a hub id",
        )
    return word_tokenizer(SyntheticLanguage().vocabulary)


def _packed(
    corpus: str, split: str, spec: TrainSpec, tokenizer: "PreTrainedTokenizerBase"
) -> Int64[np.ndarray, "num_blocks sequence_length"]:
    texts = load_corpus(corpus, split)["text"][:]
    return pack(texts, tokenizer, spec.sequence_length).sequences
