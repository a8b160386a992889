"""Beginnings of held-out text to be continued, and how the text itself goes on."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.packing import separator_id, token_arrays
from sentinel_research.data.training_set import spread
from sentinel_research.errors import DataError
from sentinel_research.specs import GenerationSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HeldOutPrompts(NamedTuple):
    """Places in a corpus."""

    prompts: Int64[np.ndarray, "num_prompts prompt_length"]
    """Token ids; the first is the one that begins a document, if the tokenizer has one."""
    continuations: Int64[np.ndarray, "num_prompts max_new_tokens"]
    """What the corpus goes on with, within the same document."""


def held_out_prompts(spec: GenerationSpec, tokenizer: "PreTrainedTokenizerBase") -> HeldOutPrompts:
    """Cut documents into places of prompt and continuation, and take some at even distances.

    No place reaches into another, and none over the end of a document.

    Args:
        spec: Corpus, split, number and lengths.
        tokenizer: Any tokenizer of transformers.

    Raises:
        UsageError: for an unknown corpus or split.
        DataError: if the data cannot be had, or is too short for so many places.
    """
    texts = load_corpus(spec.corpus, spec.split)["text"][:]
    separator = separator_id(tokenizer)
    begin = np.array([] if separator is None else [separator], dtype=np.int64)
    size, found, longest = spec.prompt_tokens + spec.max_new_tokens, [], 0
    for tokens in token_arrays(texts, tokenizer):
        document = tokens[len(begin) :]
        longest = max(longest, len(document))
        number = len(document) // size
        found.append(document[: number * size].reshape(number, size))
    places = np.concatenate(found)
    if len(places) < spec.num_prompts:
        raise DataError(
            f"{spec.corpus}, split {spec.split}, has {len(places)} places of "
            f"{spec.prompt_tokens} + {spec.max_new_tokens} tokens within a document (the longest "
            f"has {longest:,}), and {spec.num_prompts} prompts are asked for",
            "lower `evaluate.generation.num_prompts`, `prompt_tokens` or `max_new_tokens`",
        )
    chosen = spread(places, spec.num_prompts)
    begins = np.broadcast_to(begin, (spec.num_prompts, len(begin)))
    prompts = np.concatenate([begins, chosen[:, : spec.prompt_tokens]], axis=1)
    return HeldOutPrompts(prompts, chosen[:, spec.prompt_tokens :])
