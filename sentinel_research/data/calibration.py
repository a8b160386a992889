"""Token ids for calibration, by the model's own tokenizer.

Calibration text is a corpus' train split, or the training documents of an lm-eval task. A task's
prompts and answers become tokens as in lm-eval 0.4.13 (`HFLM.tok_encode`, `TemplateLM._encode_pair`
and `loglikelihood`), so that a calibrated scorer differentiates the loss that is evaluated:

- special tokens are those that the tokenizer adds by itself, or as `add_bos_token` says;
- white space at the end of a prompt belongs to the answer;
- the answer's tokens are those of the whole text behind as many as the prompt alone has;
- an empty prompt becomes one prefix token: the given one, BOS, or EOS.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus
from sentinel_research.data.packing import sample_sequences, separator_id
from sentinel_research.errors import DataError, UsageError
from sentinel_research.specs import CalibrationSpec, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sentinel_research.data.calibration_set import CalibrationSet
    from sentinel_research.data.task_documents import TaskText


class _Encoded(NamedTuple):
    """A document as tokens."""

    context: list[int]
    """At least one token."""
    target: list[int]
    """The tokens that count in the loss."""


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
    from sentinel_research.data.task_documents import text_of

    task, documents = drawn_documents(spec)
    encoder = _Encoder(tokenizer, add_bos_token, prefix_token_id)
    return _padded(
        [
            _fitted(encoder.encode(text), text, spec)
            for text in (text_of(task, document) for document in documents)
        ]
    )


def calibration_sets(
    recipe: Recipe, tokenizer: "PreTrainedTokenizerBase"
) -> dict[int, "CalibrationSet"]:
    """Every calibration draw of a recipe by its seed, in the tokens of its evaluation.

    Raises:
        UsageError, DataError: as `calibration_set`.
    """
    if recipe.prune is None:
        return {}
    return {
        spec.seed: calibration_set(
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


class _Encoder:
    """lm-eval's way from texts to tokens; the module says what it is."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        add_bos_token: bool | None,
        prefix_token_id: int | None,
    ) -> None:
        prefix = separator_id(tokenizer) if prefix_token_id is None else prefix_token_id
        if prefix is None:
            raise UsageError(
                "this model's tokenizer has neither a BOS nor an EOS token to start a text with",
                "add prefix_token_id=N to model_args, or `evaluate.prefix_token_id` to the recipe",
            )
        self._tokenizer = tokenizer
        self._add_bos_token = add_bos_token
        self._prefix = prefix
        self._prefix_text = str(tokenizer.decode(prefix))

    def encode(self, text: "TaskText") -> _Encoded:
        """Tokens of a prompt and of its answer."""
        if text.is_whole:
            return _Encoded([self._prefix], self._tokens(text.target))
        if not text.context:
            target = self._tokens(text.target, add_special_tokens=False)
            # an answer that begins with the prefix token brings its own
            if target[:1] == [self._prefix]:
                return _Encoded(target[:1], target[1:])
            return _Encoded([self._prefix], target)
        prompt = text.context.rstrip()
        context = self._tokens(prompt)
        whole = self._tokens(text.context + text.target)
        return _Encoded(context, whole[len(context) :])

    def _tokens(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        if add_special_tokens is None:
            starts = text.startswith(self._prefix_text)
            add_special_tokens = False if starts else self._add_bos_token
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self._tokenizer.encode(text, verbose=False, **given))


def _fitted(encoded: _Encoded, text: "TaskText", spec: CalibrationSpec) -> _Encoded:
    """The same in at most `sequence_length` tokens, with every token of the answer."""
    context, target = encoded
    if not context or not target:
        raise DataError(
            f"a {'prompt' if target else 'target'} of the task '{spec.task}' has no token: "
            f"{text.target[:80]!r} behind {text.context[-80:]!r}",
            "This tokenizer cannot represent it: calibrate on another task or corpus.",
        )
    if text.is_whole:
        return _Encoded(context, target[: spec.sequence_length - len(context)])
    if len(target) >= spec.sequence_length:
        raise DataError(
            f"an answer of the task '{spec.task}' has {len(target)} tokens, which do not fit "
            f"behind a prompt into sequences of {spec.sequence_length}",
            f"Set `calibration.sequence_length` to {len(target) + 1} or more.",
        )
    return _Encoded(context[-(spec.sequence_length - len(target)) :], target)


def _padded(sequences: Sequence[_Encoded]) -> "CalibrationSet":
    """Sequences padded on the right to the longest; the padding's token id is 0."""
    import torch

    from sentinel_research.data.calibration_set import CalibrationSet

    longest = max(len(one.context) + len(one.target) for one in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.int64)
    is_text = torch.zeros_like(ids, dtype=torch.bool)
    is_target = torch.zeros_like(is_text)
    for row, (context, target) in enumerate(sequences):
        end = len(context) + len(target)
        ids[row, :end] = torch.tensor(context + target)
        is_text[row, :end] = True
        is_target[row, len(context) : end] = True
    return CalibrationSet(ids, is_text, is_target)
