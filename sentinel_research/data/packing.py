"""Texts to token sequences of one length, for training and calibration.

Each document is preceded by the tokenizer's BOS token, or its EOS token if it has no BOS, on which
lm-eval conditions the first token too. A tokenizer with neither gives documents without separator.
Documents follow one another without padding. A synthetic document with its BOS is exactly as long
as `document_length + 1`: with that sequence length, each sequence is one document.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from sentinel_research.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH = 1000
# about two sequences of English subwords; a synthetic document is shorter and stays whole
_PIECE_CHARACTERS_PER_TOKEN = 8


class Packed(NamedTuple):
    """Token sequences of one length."""

    sequences: Int64[np.ndarray, "num_sequences sequence_length"]
    """Token ids."""
    num_dropped_tokens: int
    """Tokens at the end that did not fill a sequence."""


def pack(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", sequence_length: int
) -> Packed:
    """Tokenise texts, join them, and cut them into sequences.

    Args:
        texts: Documents.
        tokenizer: Any tokenizer of transformers; special tokens other than the separator are not
            added.
        sequence_length: Tokens of a sequence, at least 2.

    Returns:
        The sequences in the order of the texts, and the number of tokens left over.

    Raises:
        UsageError: if `sequence_length` is below 2.
        DataError: if the texts do not fill one sequence.
    """
    _check_length(sequence_length)
    tokens = np.concatenate([np.zeros(0, dtype=np.int64), *token_arrays(texts, tokenizer)])
    num_sequences = len(tokens) // sequence_length
    if num_sequences == 0:
        raise DataError(
            f"{len(texts)} texts of {len(tokens)} tokens do not fill a sequence of "
            f"{sequence_length}",
            "Use a shorter sequence or more text.",
        )
    end = num_sequences * sequence_length
    return Packed(tokens[:end].reshape(num_sequences, sequence_length), len(tokens) - end)


def sample_sequences(
    corpus_texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    num_sequences: int,
    sequence_length: int,
    seed: int,
) -> Int64[np.ndarray, "num_sequences sequence_length"]:
    """Draw calibration sequences from all over a corpus.

    Long documents are cut at white space into pieces of a few sequences; the pieces are put in
    random order, packed until there is enough, and each piece counts as a document.

    Args:
        corpus_texts: Documents.
        tokenizer: Any tokenizer of transformers.
        num_sequences: How many sequences, at least 1.
        sequence_length: Tokens of a sequence, at least 2.
        seed: Which draw; the same seed gives the same sequences.

    Returns:
        Token ids.

    Raises:
        UsageError: if a size is out of range.
        DataError: if the corpus has too little text.
    """
    _check_length(sequence_length)
    if num_sequences < 1:
        raise UsageError(f"num_sequences is {num_sequences}", "It is at least 1.")
    pieces = [
        piece
        for text in corpus_texts
        for piece in _pieces(text, _PIECE_CHARACTERS_PER_TOKEN * sequence_length)
    ]
    order = np.random.default_rng(seed).permutation(len(pieces))
    needed = num_sequences * sequence_length
    found: list[np.ndarray] = []
    num_found = 0
    for tokens in token_arrays([pieces[index] for index in order], tokenizer):
        found.append(tokens)
        num_found += len(tokens)
        if num_found >= needed:
            return np.concatenate(found)[:needed].reshape(num_sequences, sequence_length)
    raise DataError(
        f"{num_sequences} sequences of {sequence_length} tokens need {needed} tokens; the corpus "
        f"has {num_found}",
        f"Ask for at most {num_found // sequence_length} sequences, or use a larger corpus.",
    )


def separator_id(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token before each document: BOS, else EOS, else none."""
    bos = tokenizer.bos_token_id
    chosen = bos if bos is not None else tokenizer.eos_token_id
    return None if chosen is None else int(chosen)


def token_arrays(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[Int64[np.ndarray, " tokens"]]:
    """Tokens of each text behind its separator, tokenised in batches as they are asked for.

    Args:
        texts: Documents.
        tokenizer: Any tokenizer of transformers.
    """
    separator = separator_id(tokenizer)
    prefix = [] if separator is None else [separator]
    for start in range(0, len(texts), _BATCH):
        encoded = tokenizer(
            list(texts[start : start + _BATCH]), add_special_tokens=False, verbose=False
        )
        for ids in encoded["input_ids"]:
            yield np.array(prefix + ids, dtype=np.int64)


def _pieces(text: str, num_characters: int) -> list[str]:
    """Cut a text into pieces of about `num_characters`, at white space where there is any."""
    pieces = []
    while len(text) > num_characters:
        cut = max(text.rfind(" ", 0, num_characters), text.rfind("\n", 0, num_characters))
        cut = cut if cut > 0 else num_characters
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def _check_length(sequence_length: int) -> None:
    if sequence_length < 2:
        raise UsageError(
            f"sequence_length is {sequence_length}",
            "A token is predicted from one before: 2 or more.",
        )
