"""Long sequences of a corpus, to score by position."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.packing import pack
from sentinel_research.data.training_set import spread
from sentinel_research.errors import DataError
from sentinel_research.specs import LongContextSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def long_sequences(
    spec: LongContextSpec, tokenizer: "PreTrainedTokenizerBase"
) -> Int64[np.ndarray, "num_sequences length"]:
    """Sequences that predict as many tokens as the longest length, at even distances.

    Args:
        spec: Corpus, split, lengths, number of sequences.
        tokenizer: Any tokenizer of transformers.

    Returns:
        Token ids, one more than the longest length: the first is read and not predicted.

    Raises:
        UsageError: for an unknown corpus or split.
        DataError: if the data cannot be had, or is too short for so many sequences.
    """
    texts = load_corpus(spec.corpus, spec.split)["text"][:]
    sequences = pack(texts, tokenizer, spec.lengths[-1] + 1).sequences
    if len(sequences) < spec.num_sequences:
        raise DataError(
            f"{spec.corpus}, split {spec.split}, gives {len(sequences)} sequences of "
            f"{spec.lengths[-1]:,} tokens, and {spec.num_sequences} are asked for",
            "lower `evaluate.long_context.num_sequences` or the longest of its `lengths`",
        )
    return spread(sequences, spec.num_sequences)
