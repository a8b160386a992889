"""Token ids for training and calibration: a corpus' train split by the model's own tokenizer."""

from typing import TYPE_CHECKING

import numpy as np

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.packing import pack, sample_sequences
from sentinel_research.data.synthetic import SyntheticLanguage, word_tokenizer
from sentinel_research.errors import UsageError
from sentinel_research.specs import CalibrationSpec, TrainSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_SPLIT = "train"


def calibration_sequences(
    spec: CalibrationSpec, tokenizer: "PreTrainedTokenizerBase"
) -> "torch.Tensor":
    """Draw the sequences that calibrated scorers read, never from an evaluation split.

    Args:
        spec: Corpus, number and length of the sequences, and the seed of the draw.
        tokenizer: The model's.

    Returns:
        Int64 token ids `[num_sequences, sequence_length]`.

    Raises:
        UsageError: for an unknown corpus.
        DataError: if the corpus cannot be had or has too little text.
    """
    import torch

    texts = list(load_corpus(spec.corpus, _SPLIT)["text"])
    sequences = sample_sequences(
        texts, tokenizer, spec.num_sequences, spec.sequence_length, spec.seed
    )
    return torch.from_numpy(sequences)


def training_blocks(spec: TrainSpec, tokenizer: "PreTrainedTokenizerBase") -> np.ndarray:
    """Pack the train split into blocks `[num_sequences, sequence_length]`; see `pack`."""
    texts = list(load_corpus(spec.corpus, _SPLIT)["text"])
    return pack(texts, tokenizer, spec.sequence_length).sequences


def corpus_tokenizer(corpus: str) -> "PreTrainedTokenizerBase":
    """The tokenizer that belongs to a corpus: only the synthetic language has one.

    Raises:
        UsageError: for natural text, where the tokenizer is a choice of the user's.
    """
    if corpus != "synthetic":
        raise UsageError(
            f"training on the corpus '{corpus}' needs a tokenizer",
            "name a folder or hub id in `model.tokenizer`",
        )
    return word_tokenizer(SyntheticLanguage().vocabulary)
