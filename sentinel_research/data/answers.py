"""Documents of a task as token ids, in which the right answer is told from its prompt.

Prompts and answers become tokens as in lm-eval 0.4.13 (`HFLM.tok_encode`,
`TemplateLM._encode_pair` and `loglikelihood`), so that who reads them reads what is evaluated:

- special tokens are those that the tokenizer adds by itself, or as `add_bos_token` says;
- white space at the end of a prompt belongs to the answer;
- the answer's tokens are those of the whole text behind as many as the prompt alone has;
- an empty prompt becomes one prefix token: the given one, BOS, or EOS.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sentinel_research.data.packing import separator_id
from sentinel_research.data.task_documents import TaskText, content_fingerprint, text_of
from sentinel_research.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sentinel_research.data.calibration_set import CalibrationSet


class Encoded(NamedTuple):
    """A document as tokens."""

    context: list[int]
    """At least one token."""
    target: list[int]
    """The tokens that count in the loss."""


def encode_documents(
    task: Any, documents: Iterable[Any], encoder: "Encoder", length: int, name: str
) -> "CalibrationSet":
    """Render documents of a task and make tokens of them.

    Args:
        task: An lm-eval task.
        documents: Some of its documents.
        encoder: Of the model that reads them.
        length: Tokens of the longest sequence.
        name: What the user calls that, for messages.

    Returns:
        One document a sequence, padded on the right to the longest: only the right answer is a
        target, the prompt is cut from the left to fit, a text that is scored whole is cut from the
        right.

    Raises:
        DataError: for a document without a right answer, or one whose answer does not fit.
    """
    texts = (text_of(task, document) for document in documents)
    about = task.config.task, length, name
    return _padded([_fitted(encoder.encode(text), text, *about) for text in texts])


def hold_out(documents: Sequence[Any], share: float) -> tuple[list[int], list[int]]:
    """Divide training documents into those that are trained on and those that choose a model.

    The division depends on what documents say and on nothing else; equal ones go together.

    Args:
        documents: Of a training split, at least two different ones.
        share: Of the documents that are held out; at least one is.

    Returns:
        Places of the ones to train on, and of the ones held out, ascending.

    Raises:
        DataError: if all documents are equal.
    """
    by_content: dict[str, list[int]] = {}
    for index, document in enumerate(documents):
        by_content.setdefault(content_fingerprint(document), []).append(index)
    held: list[int] = []
    for name in sorted(by_content)[:-1]:
        if len(held) >= max(1, round(share * len(documents))):
            break
        held += by_content[name]
    if not held:
        raise DataError(
            f"{len(documents)} training documents that are all alike cannot be divided",
            "Choose another task.",
        )
    return sorted(set(range(len(documents))) - set(held)), sorted(held)


class Encoder:
    """lm-eval's way from texts to tokens; the module says what it is.

    Args:
        tokenizer: The model's.
        add_bos_token: Whether BOS becomes part of a text; None is the tokenizer's own way.
        prefix_token_id: The token before a text's first; None is BOS, or EOS.

    Raises:
        UsageError: for a tokenizer without a token to start a text with.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
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

    def encode(self, text: TaskText) -> Encoded:
        """Tokens of a prompt and of its answer."""
        if text.is_whole:
            return Encoded([self._prefix], self._tokens(text.target))
        if not text.context:
            target = self._tokens(text.target, add_special_tokens=False)
            # an answer that begins with the prefix token brings its own
            if target[:1] == [self._prefix]:
                return Encoded(target[:1], target[1:])
            return Encoded([self._prefix], target)
        prompt = text.context.rstrip()
        context = self._tokens(prompt)
        whole = self._tokens(text.context + text.target)
        return Encoded(context, whole[len(context) :])

    def _tokens(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        if add_special_tokens is None:
            starts = text.startswith(self._prefix_text)
            add_special_tokens = False if starts else self._add_bos_token
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self._tokenizer.encode(text, verbose=False, **given))


def _fitted(encoded: Encoded, text: TaskText, task: str, length: int, name: str) -> Encoded:
    """The same in at most `length` tokens, with every token of the answer."""
    context, target = encoded
    if not context or not target:
        raise DataError(
            f"a {'prompt' if target else 'target'} of the task '{task}' has no token: "
            f"{text.target[:80]!r} behind {text.context[-80:]!r}",
            "This tokenizer cannot represent it: choose another task.",
        )
    if text.is_whole:
        return Encoded(context, target[: length - len(context)])
    if len(target) >= length:
        raise DataError(
            f"an answer of the task '{task}' has {len(target)} tokens, which do not fit "
            f"behind a prompt into sequences of {length}",
            f"Set `{name}` to {len(target) + 1} or more.",
        )
    return Encoded(context[-(length - len(target)) :], target)


def _padded(sequences: Sequence[Encoded]) -> "CalibrationSet":
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
