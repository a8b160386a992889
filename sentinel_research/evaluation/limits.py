"""Refuse, before anything is computed, evaluation settings that a model or a task cannot serve."""

import contextlib
import logging
from collections.abc import Iterator, Sequence

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from sentinel_research.data.held_out_prompts import held_out_prompts
from sentinel_research.errors import DataError, UsageError
from sentinel_research.models import ANATOMIES, context_length
from sentinel_research.models.anatomy import family_of
from sentinel_research.specs import EvalSpec

_LOG = logging.getLogger(__name__)
_CUT_MESSAGES = ("Combined length of context", "Left truncation applied")


def check_limits(
    config: PretrainedConfig, max_length: int | None, prefix_token_id: int | None
) -> None:
    """Check a perplexity window and a first token against a model.

    Args:
        config: The model's configuration. The context of a family without a row is not known.
        max_length: Window in tokens; None is the model's context.
        prefix_token_id: Token before a text's first; None is the tokenizer's own.

    Raises:
        UsageError: if the window is longer than the context, or there is no such token.
    """
    is_known = family_of(config) in ANATOMIES
    longest = context_length(config) if is_known and max_length is not None else None
    if longest is not None and max_length is not None and max_length > longest:
        raise UsageError(
            f"max_length = {max_length} is longer than the model's context of {longest} tokens",
            f"give at most {longest}, or leave it out (`evaluate.max_length` in a recipe)",
        )
    num_tokens = config.get_text_config().vocab_size
    if prefix_token_id is not None and not 0 <= prefix_token_id < num_tokens:
        raise UsageError(
            f"prefix_token_id = {prefix_token_id} is not in the model's vocabulary of "
            f"{num_tokens:,} tokens",
            f"give 0 to {num_tokens - 1} (`evaluate.prefix_token_id` in a recipe)",
        )


def check_generation(
    spec: EvalSpec, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Check that there are prompts to continue, and that a model reads as many tokens.

    Args:
        spec: Nothing is checked if it asks for no generation.
        config: The model's configuration. The context of a family without a row is not known.
        tokenizer: The model's.

    Raises:
        UsageError: for a text longer than the context, or a corpus without the split.
        DataError: if the data cannot be had, or is too short for so many prompts.
    """
    asked = spec.generation
    if asked is None:
        return
    num_read = held_out_prompts(asked, tokenizer).prompts.shape[1]
    longest = context_length(config) if family_of(config) in ANATOMIES else None
    if longest is not None and num_read + asked.max_new_tokens > longest:
        begin = ", one of them begins the text," if num_read > asked.prompt_tokens else ""
        raise UsageError(
            f"`evaluate.generation`: prompts of {num_read} tokens{begin} and `max_new_tokens` = "
            f"{asked.max_new_tokens} are more than the model's context of {longest} tokens",
            "lower `evaluate.generation.prompt_tokens` or `max_new_tokens`",
        )


def check_examples(spec: EvalSpec) -> None:
    """Check that every task has the examples that its prompts are to show.

    Args:
        spec: Tasks are loaded with their data only if it asks for examples.

    Raises:
        UsageError: for a task that scores whole texts, or has fewer examples.
        DataError: if the data of a task cannot be had.
    """
    from sentinel_research.data.task_documents import load_tasks

    if not spec.num_fewshot:
        return
    for name, task in load_tasks(spec.tasks).items():
        # lm-eval's rule: a task that says 0 keeps it
        if task.get_config("num_fewshot") == 0:
            continue
        asked = f"`evaluate.num_fewshot` = {spec.num_fewshot}: the task '{name}'"
        hint = "leave `evaluate.num_fewshot` out, or measure other tasks"
        if task.get_config("output_type") == "loglikelihood_rolling":
            raise UsageError(f"{asked} scores whole texts, without examples before them", hint)
        available = len(task.fewshot_docs())
        if available < spec.num_fewshot:
            raise UsageError(f"{asked} has only {available} examples", hint)


def check_lengths(
    requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]], max_length: int
) -> None:
    """Check that the answers to score fit a model, and say how many prompts do not.

    Args:
        requests: Texts, tokens of the prompt and tokens of the answer of each. Windows of whole
            texts have None in place of the texts; they fit by construction.
        max_length: The model's window in tokens.

    Raises:
        DataError: for an answer without tokens.
    """
    lengths = []
    for texts, prompt, answer in requests:
        if texts is None:
            continue
        if not answer:
            raise DataError(
                f"the answer {texts[1]!r} has no token in this model's tokenizer",
                "evaluate a model whose tokenizer has its characters, or another task",
            )
        # the last token of an answer is predicted, not read
        lengths.append(len(prompt) + len(answer) - 1)
    report_cut(lengths, max_length)


@contextlib.contextmanager
def counted_cuts() -> Iterator[None]:
    """Keep lm-eval from saying of every single prompt what `report_cut` says once of all."""
    log = logging.getLogger("lm_eval.models.huggingface")
    log.addFilter(_is_no_cut)
    try:
        yield
    finally:
        log.removeFilter(_is_no_cut)


def _is_no_cut(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_CUT_MESSAGES)


def report_cut(lengths: Sequence[int], max_length: int) -> None:
    """Say once how many texts lose their beginning because a model reads less.

    Args:
        lengths: Tokens of each.
        max_length: Tokens that the model reads of each.
    """
    cut = [length for length in lengths if length > max_length]
    if cut:
        _LOG.warning(
            "%d of %d requests are longer than the %d tokens that the model reads (up to %d): the "
            "beginnings of their prompts are cut off",
            len(cut),
            len(lengths),
            max_length,
            max(cut),
        )
