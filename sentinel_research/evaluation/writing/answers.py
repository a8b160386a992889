"""Texts that tasks ask a model to write (`generate_until`), in continuous batches where exact.

A request's text is the one that transformers' `generate` writes for it alone. lm-eval's own loop
decodes a batch until its last row has stopped; here rows leave when they stop (`greedy`). Whatever
else is asked for (sampling, beams, penalties, by the request or by the checkpoint's generation
configuration), and families that nobody has looked at, take lm-eval's loop, and the answers say so.
`routes.route` decides, and nothing else does.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)

from sentinel_research.errors import DataError, UsageError
from sentinel_research.evaluation.bars import Bars
from sentinel_research.evaluation.limits import report_cut
from sentinel_research.evaluation.scores.batch_size import BatchSize
from sentinel_research.evaluation.writing.greedy import Ending, GreedyWriter
from sentinel_research.evaluation.writing.routes import check_generates, route

CONTINUOUS = "continuous batching"
"""What `Answers.ways` calls `GreedyWriter`."""
_LOG = logging.getLogger(__name__)
_BARS = Bars()

Stock = Callable[[list[Instance]], list[str]]
"""lm-eval's own `generate_until`."""


class Answers(NamedTuple):
    """What a model wrote."""

    texts: list[str]
    """In the order of the requests."""
    ways: Counter[str]
    """How many requests were answered in which way, with the reason where it is lm-eval's."""


class _Asked(NamedTuple):
    """Requests with one set of options."""

    requests: list[Instance]
    until: list[str]
    max_tokens: int
    options: dict[str, Any]
    """Everything else, as lm-eval hands it to `generate`."""
    prompts: list[tuple[int, ...]]
    """Token ids, cut to what the model has room for."""


def answer(lm: HFLM, requests: Sequence[Instance], stock: Stock, *, bars: Bars = _BARS) -> Answers:
    """Answer requests, those with the same options together.

    Args:
        lm: Model, tokenizer and window.
        requests: With a prompt and options each.
        stock: Answers what continuous batches cannot.
        bars: Who is told how many are written.

    Raises:
        UsageError: for a model that cannot generate, or without room for so long an answer.
        DataError: for a prompt without a token.
    """
    check_generates(lm.model)
    kinds: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        options = json.dumps(request.args[1], sort_keys=True, default=repr)
        kinds.setdefault(options, []).append(place)
    texts, ways = [""] * len(requests), Counter[str]()
    for places in kinds.values():
        found = answer_alike([requests[place] for place in places], lm, stock, bars=bars)
        ways += found.ways
        for place, text in zip(places, found.texts, strict=True):
            texts[place] = text
    return Answers(texts, ways)


def answer_alike(
    requests: Sequence[Instance], lm: HFLM, stock: Stock, *, bars: Bars = _BARS
) -> Answers:
    """Answer requests with the same options; see `answer`."""
    if lm.backend != "causal":
        return Answers(stock(list(requests)), Counter({_stock("not causal"): len(requests)}))
    asked = _asked(lm, requests)
    found = route(lm, asked.prompts[0], asked.until, asked.max_tokens, asked.options)
    if found.ending is None:
        _LOG.info("%d requests: %s", len(requests), _stock(found.reason))
        return Answers(stock(list(requests)), Counter({_stock(found.reason): len(requests)}))
    texts = _written(lm, asked, found.ending, bars)
    return Answers(texts, Counter({CONTINUOUS: len(requests)}))


def _asked(lm: HFLM, requests: Sequence[Instance]) -> _Asked:
    """Read options as lm-eval does, and encode the prompts."""
    options: dict[str, Any] = dict(normalize_gen_kwargs(requests[0].args[1], lm.max_gen_toks))
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    until = handle_stop_sequences(options.pop("until"), eos=eos)
    max_tokens = options.pop("max_gen_toks")
    room = lm.max_length - max_tokens
    if not 0 < max_tokens < lm.max_length:
        raise UsageError(
            f"max_gen_toks = {max_tokens} leaves no room for a prompt in the model's window of "
            f"{lm.max_length} tokens",
            f"give 1 to {lm.max_length - 1} (`generation_kwargs` of the task, or --gen_kwargs)",
        )
    whole = [_encoded(lm, request.args[0]) for request in requests]
    report_cut([len(prompt) for prompt in whole], room)
    return _Asked(list(requests), until, max_tokens, options, [ids[-room:] for ids in whole])


def _encoded(lm: HFLM, text: str) -> tuple[int, ...]:
    """A prompt as lm-eval encodes it alone."""
    ids, _ = lm.tok_batch_encode([text], truncation=lm.truncation)
    if not ids.numel():
        raise DataError(
            f"the prompt {text!r} has no token in this model's tokenizer",
            "leave out documents without a prompt, or add_bos_token=True to model_args",
        )
    return tuple(ids[0].tolist())


def _written(lm: HFLM, asked: _Asked, ending: Ending, bars: Bars) -> list[str]:
    """Texts of requests in a continuous batch; equal ones are written once."""
    same: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(asked.prompts):
        same.setdefault(prompt, []).append(place)
    distinct, texts = list(same), [""] * len(asked.prompts)
    size, precision = BatchSize.of(lm), lm.mixed_precision_dtype
    with (
        bars.counted("texts written", len(texts)) as count,
        torch.autocast(lm.device.type, precision, enabled=precision is not None),
    ):

        def tell(number: int, tokens: list[int]) -> None:
            for place in same[distinct[number]]:
                texts[place] = _text(lm, tokens, asked.until)
                request = asked.requests[place]
                lm.cache_hook.add_partial("generate_until", request.args, texts[place])
                count(1)

        GreedyWriter(lm.model, lm.tokenizer, ending, size, tell).write(distinct)
    lm.batch_sizes[0] = size.value
    return texts


def _text(lm: HFLM, tokens: list[int], until: list[str]) -> str:
    """Tokens as lm-eval makes a text of them."""
    end = lm.think_end_token
    if isinstance(end, int):
        thought = max((place for place, token in enumerate(tokens) if token == end), default=-1)
        return postprocess_generated_text(
            lm.tok_decode(tokens[thought + 1 :]).lstrip(), until, None
        )
    return postprocess_generated_text(lm.tok_decode(tokens), until, end)


def _stock(reason: str) -> str:
    return f"transformers' generate: {reason}"
