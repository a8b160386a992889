"""Continuations of prompts by transformers' `generate`, each with noise of its own.

A token is drawn as the largest of logits plus Gumbel noise, which is an exact draw from their
softmax [1]. The noise belongs to a prompt and a sample, so that it depends neither on the batch nor
on the model: models that share a vocabulary are drawn from with common random numbers. Prompts have
one length, so that nothing is padded. What is left of the batch are the last bits of the logits,
which decide where two tokens are as likely up to rounding.

Reference:
    [1] Gumbel 1954, Statistical Theory of Extreme Values and Some Practical Applications, NBS
        Applied Mathematics Series 33; Maddison et al. 2014, A* Sampling, section 2.
        https://arxiv.org/abs/1411.0030
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sentinel_research.data.packing import separator_id
from sentinel_research.errors import SentinelError
from sentinel_research.models.modes import evaluating
from sentinel_research.specs import GenerationSpec


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end a text: the tokenizer's EOS, and what is between documents in training.

    Args:
        tokenizer: One without either has none: a text then ends where it is cut off.
    """
    found = (tokenizer.eos_token_id, separator_id(tokenizer))
    return frozenset(int(token) for token in found if token is not None)


def until_end(ids: Sequence[int], ends: Collection[int]) -> list[int]:
    """What is before the first end token.

    Example:
        >>> until_end([5, 6, 0, 7], {0})
        [5, 6]
    """
    stops = (place for place, token in enumerate(ids) if token in ends)
    return list(ids[: next(stops, len(ids))])


def write_continuations(
    model: PreTrainedModel,
    prompts: Int64[np.ndarray, "num_prompts prompt_length"],
    spec: GenerationSpec,
    ends: Collection[int],
    batch_size: int,
) -> list[list[list[int]]]:
    """Continue every prompt `spec.num_samples` times.

    Args:
        model: A causal LM that can `generate`, on its device.
        prompts: Token ids.
        spec: Length, noise and limits of what can be chosen.
        ends: Tokens that end a text.
        batch_size: Continuations written at a time.

    Returns:
        Token ids [prompt][sample], without the prompt, without an end token and what follows it.

    Raises:
        SentinelError: if logits are not a number.
    """
    rows = [
        (prompt, sample) for prompt in range(len(prompts)) for sample in range(spec.num_samples)
    ]
    found: list[list[list[int]]] = [[] for _ in prompts]
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        ids = torch.from_numpy(prompts[[prompt for prompt, _ in part]])
        written = generate(model, ids, spec.max_new_tokens, ends, _processors(spec, part))
        for (prompt, _), new in zip(part, written.tolist(), strict=True):
            found[prompt].append(until_end(new, ends))
    return found


def generate(
    model: PreTrainedModel,
    prompts: Int64[Tensor, "batch prompt_length"],
    max_new_tokens: int,
    ends: Collection[int],
    processors: Sequence[LogitsProcessor] = (),
    **options: Any,
) -> Int64[Tensor, "batch new_tokens"]:
    """The likeliest tokens of a model after its processors, with the model's cache or state.

    Args:
        model: In any mode; nothing in its own generation configuration counts.
        prompts: Token ids of one length.
        max_new_tokens: How many tokens at most.
        ends: Tokens that end a text; without one, all have the same length.
        processors: What is done to the logits.
        **options: For `generate` of transformers.
    """
    prompts = prompts.to(model.device)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),
        use_cache=True,
    )
    # a model that can generate has the mixin, which its class does not say
    writer: Any = model
    with evaluating(model), _configured(writer, config), torch.inference_mode():
        ids = writer.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            logits_processor=LogitsProcessorList(processors),
            **options,
        )
    found: Tensor = ids[:, prompts.shape[1] :]
    return found


@contextlib.contextmanager
def _configured(model: Any, config: GenerationConfig) -> Iterator[None]:
    """`generate` takes from the model's own configuration whatever a given one leaves open."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _processors(spec: GenerationSpec, rows: Sequence[tuple[int, int]]) -> list[LogitsProcessor]:
    """What makes the likeliest token a drawn one; in the order of transformers."""
    found: list[LogitsProcessor] = [_RefuseNan()]
    if spec.temperature == 0:
        return found
    found.append(TemperatureLogitsWarper(spec.temperature))
    if spec.top_k is not None:
        found.append(TopKLogitsWarper(spec.top_k))
    if spec.top_p is not None:
        found.append(TopPLogitsWarper(spec.top_p))
    return [*found, _GumbelNoise(spec.seed, rows)]


class _RefuseNan(LogitsProcessor):
    """A model without a distribution has no likeliest token either."""

    def __call__(
        self, input_ids: Int64[Tensor, "batch seq"], scores: Float[Tensor, "batch vocabulary"]
    ) -> Float[Tensor, "batch vocabulary"]:
        if scores.isnan().any():
            raise SentinelError(
                f"the model's logits behind {input_ids.shape[1]} tokens are NaN",
                "the checkpoint is damaged, or its precision does not suit it (`model.dtype`)",
            )
        return scores


class _GumbelNoise(LogitsProcessor):
    """Adds to the logits of each row the next noise of the row's own generator.

    Args:
        seed: Of all noise.
        rows: Prompt and sample of each row.
    """

    def __init__(self, seed: int, rows: Sequence[tuple[int, int]]) -> None:
        states = [np.random.SeedSequence((seed, *row)).generate_state(1)[0] for row in rows]
        # on the CPU, so that all devices have the same
        self._generators = [torch.Generator().manual_seed(int(state)) for state in states]

    def __call__(
        self,
        input_ids: Int64[Tensor, "batch seq"],  # noqa: ARG002
        scores: Float[Tensor, "batch vocabulary"],
    ) -> Float[Tensor, "batch vocabulary"]:
        waits = torch.zeros(scores.shape, dtype=torch.float64)
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores.double() - waits.log().to(scores.device)
