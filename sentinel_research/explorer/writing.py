"""What the whole model and the one without the chosen units write behind the same prompt."""

from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.data.held_out_prompts import held_out_prompts
from sentinel_research.data.packing import separator_id
from sentinel_research.errors import DataError, UsageError
from sentinel_research.evaluation.continuations import end_tokens, write_continuations
from sentinel_research.explorer.worker import Stop
from sentinel_research.models.anatomy import context_length
from sentinel_research.specs import GenerationSpec
from sentinel_research.visible import visible

MAX_NEW_TOKENS = 96


class Prompt(NamedTuple):
    """What both models go on with; a change of any part makes the texts out of date."""

    text: str
    temperature: float = 0.0
    """0 takes the likeliest token; else both are drawn from with the same noise."""
    seed: int = 0
    num_tokens: int = MAX_NEW_TOKENS


def write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, stop: Stop
) -> str:
    """What a model writes behind a prompt.

    Args:
        model: Whole, pruned, or with gates at 0.
        tokenizer: Its own.
        prompt: What to go on with.
        stop: Ends it between two tokens.

    Returns:
        The text behind the prompt, see `visible`.

    Raises:
        UsageError: for a prompt that has no token, or no room behind it, or a temperature below 0.
    """
    begin = separator_id(tokenizer)
    ids = tokenizer.encode(prompt.text, add_special_tokens=False)
    ids = ids if begin is None else [begin, *ids]
    room = (context_length(model.config) or len(ids) + prompt.num_tokens) - len(ids)
    if not ids or room < 1:
        raise UsageError(
            f"the prompt has {len(ids)} tokens"
            + (f", and the model reads {len(ids) + room}" if ids else ""),
            "Write a shorter one." if ids else "Write something to go on with.",
        )
    if not 0 <= prompt.temperature <= 10:
        raise UsageError(
            f"temperature {prompt.temperature} is not in [0, 10]", "1 changes nothing."
        )
    spec = GenerationSpec(
        corpus="synthetic",
        max_new_tokens=max(2, min(prompt.num_tokens, room)),
        temperature=prompt.temperature,
        seed=prompt.seed,
        num_timings=0,
    )
    with stop.watching(model):
        prompts = np.array([ids], dtype=np.int64)
        ((written,),) = write_continuations(model, prompts, spec, end_tokens(tokenizer), 1)
    return visible(str(tokenizer.decode(written, skip_special_tokens=True)))


def first_prompt(
    corpus: str | None, tokenizer: PreTrainedTokenizerBase, context: int | None
) -> str:
    """The beginning of a held-out text to start with; empty where there is none so long."""
    if corpus is None:
        return ""
    length = min(12, (context or 64) // 3)
    spec = GenerationSpec(corpus=corpus, num_prompts=2, prompt_tokens=length, max_new_tokens=8)
    try:
        ids = held_out_prompts(spec, tokenizer).prompts[0].tolist()
    except DataError:
        # documents shorter than a prompt and a continuation
        return ""
    return visible(str(tokenizer.decode(ids, skip_special_tokens=True))).strip()
