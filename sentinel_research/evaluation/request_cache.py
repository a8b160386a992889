"""lm-eval's `--cache_requests`, refused: it keeps prompts by the task's name, not by their data."""

from typing import Any

from lm_eval.api import task as lm_eval_task

from sentinel_research.errors import UsageError


def request_cache_error() -> UsageError:
    """Why prompts are not kept, and what to do instead."""
    return UsageError(
        "--cache_requests keeps prompts by the name of the task alone: once its data, YAML file or "
        "examples change, the old prompts would be scored against the new documents",
        "leave --cache_requests out; --use_cache PATH keeps the model's answers, which takes the "
        "time",
    )


def refuse_request_cache() -> None:
    """Make lm-eval refuse `--cache_requests` in this process.

    lm-eval tells the model nothing about it; a model can only be in front of where it is read.
    """
    lm_eval_task.load_from_cache = _refuse


def _refuse(*, cache: bool = False, **_: Any) -> None:
    """In place of `lm_eval.caching.cache.load_from_cache`, which returns None if not asked."""
    if cache:
        raise request_cache_error()
