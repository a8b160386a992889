"""Requests, and lm-eval's own adapter beside ours to ask them."""

from typing import Any

import numpy as np
from lm_eval.models.huggingface import HFLM

from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.scores.prefixes import Continuation
from sentinel_research.models.tiny import byte_tokenizer

LENGTH = 24
"""Tokens that models read, unless asked otherwise."""
Pairs = list[tuple[list[int], list[int]]]
"""Contexts and continuations."""


def adapters(
    model: Any, batch_size: Any, max_length: int = LENGTH, **options: Any
) -> tuple[Any, Any]:
    """lm-eval's and ours, of one model."""
    shared = {"tokenizer": byte_tokenizer(), "batch_size": batch_size, "max_length": max_length}
    # lm-eval's own cache reads wrong rows where one continuation begins another
    stock = HFLM(model, logits_cache=False, **shared)
    return stock, SentinelLM(model, quiet=True, **shared, **options)


def scores(adapter: Any, pairs: Pairs) -> list[tuple[float, bool]]:
    """Of each continuation."""
    requests = [(("", str(place)), *pair) for place, pair in enumerate(pairs)]
    return list(adapter._loglikelihood_tokens(requests, disable_tqdm=True))


def few_shot() -> Pairs:
    """Two examples in front of three questions of two lengths, with four choices each."""
    rng = np.random.default_rng(0)
    header = rng.integers(0, 200, 20).tolist()
    questions = [rng.integers(0, 200, length).tolist() for length in (7, 9, 7)]
    choices = [rng.integers(0, 200, length).tolist() for length in (1, 3, 2, 5)]
    return [(header + question, choice) for question in questions for choice in choices]


def asked(pairs: Pairs) -> list[Continuation]:
    """The same as the scorer knows it."""
    return [Continuation(tuple(a + b[:-1]), tuple(b)) for a, b in pairs]


def read_by(model: Any) -> list[tuple[int, ...]]:
    """Batches that a model reads from now on, as `(sequences, tokens)`."""
    seen: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    return seen
