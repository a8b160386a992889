"""Token ids for calibration, by the model's own tokenizer.

Calibration text is a corpus' train split, or the training documents of an lm-eval task, in the
tokens of the evaluation (`answers`): a calibrated scorer differentiates the loss that is evaluated.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus
from sentinel_research.data.packing import sample_sequences
from sentinel_research.errors import DataError
from sentinel_research.specs import CalibrationSpec, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sentinel_research.data.calibration_set import CalibrationSet


def calibration_set(
    spec: CalibrationSpec,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    add_bos_token: bool | None = None,
    prefix_token_id: int | None = None,
) -> "CalibrationSet":
    """Draw the sequences that calibrated scorers read, never from an evaluation split.

    Args:
        spec: Corpus or task, number and length of the sequences, and the seed of the draw.
        tokenizer: The model's.
        add_bos_token: For tasks, as in EvalSpec: whether BOS becomes part of a text; None is the
            tokenizer's own way.
        prefix_token_id: For tasks, as in EvalSpec: the token before a text's first; None is BOS,
            or EOS.

    Returns:
        For a corpus, sequences of `sequence_length` in which every token but the first is a target.
        For a task, one document a sequence: only the right answer is a target, the prompt is cut
        from the left to fit, a text that is scored whole is cut from the right. Sequences are
        padded on the right to the longest.

    Raises:
        UsageError: for an unknown corpus or task, a task without training documents, or a tokenizer
            without a token to start a text with.
        DataError: if the data cannot be had, there is too little of it, or an answer does not fit
            into `sequence_length`.
    """
    import torch

    from sentinel_research.data.calibration_set import CalibrationSet

    if spec.corpus is not None:
        texts = load_corpus(spec.corpus, FITTED_SPLIT)["text"][:]
        sequences = sample_sequences(
            texts, tokenizer, spec.num_sequences, spec.sequence_length, spec.seed
        )
        return CalibrationSet.of(torch.from_numpy(sequences))
    from sentinel_research.data.answers import Encoder, encode_documents

    encoder = Encoder(tokenizer, add_bos_token, prefix_token_id)
    length, name = spec.sequence_length, "calibration.sequence_length"
    return encode_documents(*drawn_documents(spec), encoder, length, name)


def calibration_sets(
    recipe: Recipe, tokenizer: "PreTrainedTokenizerBase"
) -> dict[CalibrationSpec, "CalibrationSet"]:
    """Every calibration draw of a recipe and its variants, in the tokens of its evaluation.

    Raises:
        UsageError, DataError: as `calibration_set`.
    """
    if recipe.prune is None:
        return {}
    return {
        spec: calibration_set(
            spec,
            tokenizer,
            add_bos_token=recipe.evaluate.add_bos_token,
            prefix_token_id=recipe.evaluate.prefix_token_id,
        )
        for spec in recipe.prune.calibrations
    }


class Drawn(NamedTuple):
    """The training documents that a task calibration reads."""

    task: Any
    """The lm-eval task."""
    documents: list[Any]
    """Its documents, in the order they are read."""


def drawn_documents(spec: CalibrationSpec) -> Drawn:
    """Draw training documents of a task by the seed, without replacement.

    Args:
        spec: With a task.

    Returns:
        `num_sequences` documents; a larger number contains a smaller one.

    Raises:
        UsageError: for an unknown task or one without training documents.
        DataError: if it has fewer documents than asked, or its data cannot be had.
    """
    from sentinel_research.data.task_documents import training_documents

    assert spec.task is not None  # the caller asks only for tasks
    task, documents = training_documents(spec.task)
    if len(documents) < spec.num_sequences:
        raise DataError(
            f"the task '{spec.task}' has {len(documents)} training documents, and calibration "
            f"asks for {spec.num_sequences}",
            f"Ask for at most {len(documents)} sequences (`calibration.num_sequences`).",
        )
    order = np.random.default_rng(spec.seed).permutation(len(documents))
    return Drawn(task, [documents[int(index)] for index in order[: spec.num_sequences]])
