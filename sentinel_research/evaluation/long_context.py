"""Quality by position, memory and speed by length, with the state carried from window to window.

A sequence longer than what a model was trained on is read in windows; keys and values or the
recurrent state of the past stay in the model's cache, so that nothing is forgotten at a window's
edge and the numbers are those of one pass over the whole sequence. A model whose positions are
limited has no numbers beyond its limit, and one without a state none at all, only the reason.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.long_sequences import long_sequences
from sentinel_research.data.provenance import provenance_of
from sentinel_research.data.training_set import hash_blocks
from sentinel_research.errors import UsageError
from sentinel_research.evaluation.caches import cache_name, empty_cache, given
from sentinel_research.models import context_length
from sentinel_research.models.anatomy import ANATOMIES, PRUNED_PREFIX
from sentinel_research.models.modes import evaluating
from sentinel_research.specs import LongContextSpec

_LARGEST_EXPONENT = math.log(np.finfo(np.float64).max)


class Bucket(NamedTuple):
    """Positions from `start` to before `stop`."""

    start: int
    stop: int
    nats_per_token: float | None
    """Mean negative log-likelihood of what is finite; None if nothing is."""
    stderr: float | None
    """Of that mean, over sequences; None for a single one."""
    perplexity: float | None
    """None if it is too large for a float."""
    num_not_finite: int
    """Tokens whose log-likelihood is NaN or infinite, in all sequences."""


class Cost(NamedTuple):
    """Reading one sequence of some length."""

    length: int
    seconds: float
    tokens_per_second: float
    cache_bytes: int
    """Keys, values and states after the last token."""


class LongContext(NamedTuple):
    """What `measure_long_context` returns."""

    buckets: tuple[Bucket, ...]
    costs: tuple[Cost, ...]
    num_sequences: int
    num_not_finite: int
    """Tokens whose log-likelihood is NaN or infinite; they are not in any mean."""
    skipped: dict[int, str]
    """Lengths without numbers, and why."""


def evaluate_long_context(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: LongContextSpec
) -> dict[str, Any]:
    """Measure a model as a recipe's `evaluate.long_context` says.

    Args:
        model: A causal LM on its device.
        tokenizer: Its tokenizer.
        spec: Corpus, lengths and window.

    Returns:
        For the record, JSON types only: the fields of `LongContext`, and `data` with the corpus'
        provenance and the hash of the sequences.

    Raises:
        UsageError, DataError: see `data.long_sequences`.
    """
    sequences = long_sequences(spec, tokenizer)
    found = measure_long_context(model, sequences, spec.lengths, window=spec.window)
    provenance = provenance_of(load_corpus(spec.corpus, spec.split))
    return {
        **found._asdict(),
        "buckets": [one._asdict() for one in found.buckets],
        "costs": [one._asdict() for one in found.costs],
        "skipped": {str(length): reason for length, reason in found.skipped.items()},
        "data": {**asdict(provenance), "sequences_sha256": hash_blocks(sequences)},
    }


def measure_long_context(
    model: PreTrainedModel,
    sequences: Int64[np.ndarray, "num_sequences length"],
    lengths: Sequence[int],
    *,
    window: int,
) -> LongContext:
    """Score sequences position by position, and time prefixes of one.

    Args:
        model: A causal LM on its device.
        sequences: Token ids; the first token of each is read but not predicted.
        lengths: Numbers of predicted tokens, ascending: edges of the buckets, and prefixes to time.
        window: Tokens per forward pass.

    Returns:
        Buckets up to each length that the model can read, and the cost of each.

    Raises:
        UsageError: if the lengths are not ascending, or the sequences too short for the longest.
    """
    _check(sequences, lengths, window)
    skipped = {length: reason for length in lengths if (reason := _obstacle(model, length))}
    readable = [length for length in lengths if length not in skipped]
    if not readable:
        return LongContext((), (), len(sequences), 0, skipped)
    tokens = torch.from_numpy(sequences[:, : readable[-1] + 1]).to(model.device)
    losses = torch.cat([score_positions(model, one[None], window)[0] for one in tokens])
    per_sequence = losses.reshape(len(tokens), -1)
    edges = [0, *readable]
    return LongContext(
        buckets=tuple(
            _bucket(per_sequence, start, stop) for start, stop in itertools.pairwise(edges)
        ),
        costs=tuple(_cost(model, tokens[:1, : length + 1], window) for length in readable),
        num_sequences=len(tokens),
        num_not_finite=int((~per_sequence.isfinite()).sum()),
        skipped=skipped,
    )


def score_positions(
    model: PreTrainedModel, tokens: Int64[Tensor, "batch length"], window: int
) -> tuple[Float[Tensor, "batch predicted"], Cache]:
    """Negative log-likelihood of every token but the first, in nats.

    Args:
        model: A causal LM.
        tokens: Token ids on the model's device.
        window: Tokens per forward pass.

    Returns:
        float64 on the CPU, and the cache behind the last token that was read.
    """
    cache, losses = empty_cache(model), []
    with evaluating(model), torch.inference_mode():
        for inputs, targets in _windows(tokens, window):
            logits = model(inputs, **given(model, cache)).logits
            log_probs = logits.float().log_softmax(-1)
            picked = log_probs.gather(2, targets[..., None])[..., 0]
            losses.append(-picked.double().cpu())
    return torch.cat(losses, 1), cache


def _windows(
    tokens: Int64[Tensor, "batch length"], window: int
) -> Iterator[tuple[Int64[Tensor, "batch window"], Int64[Tensor, "batch window"]]]:
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    return zip(inputs.split(window, 1), targets.split(window, 1), strict=True)


def _bucket(losses: Float[Tensor, "batch length"], start: int, stop: int) -> Bucket:
    part = losses[:, start:stop]
    counts = part.isfinite().sum(1)
    sums = torch.where(part.isfinite(), part, 0).sum(1)
    means = (sums / counts)[counts > 0]
    num_not_finite = part.numel() - int(counts.sum())
    if not len(means):
        return Bucket(start, stop, None, None, None, num_not_finite)
    mean = means.mean().item()
    stderr = means.std().item() / math.sqrt(len(means)) if len(means) > 1 else None
    perplexity = math.exp(mean) if mean < _LARGEST_EXPONENT else None
    return Bucket(start, stop, mean, stderr, perplexity, num_not_finite)


def _cost(model: PreTrainedModel, tokens: Int64[Tensor, "1 length"], window: int) -> Cost:
    start = time.perf_counter()
    _, cache = score_positions(model, tokens, window)
    seconds = time.perf_counter() - start
    length = tokens.shape[1] - 1
    return Cost(length, seconds, length / seconds, cache_bytes(cache))


def cache_bytes(cache: Cache) -> int:
    """Memory of everything that a cache holds."""
    total = 0
    for layer in cache.layers:
        states = [getattr(layer, name, {}) for name in ("conv_states", "recurrent_states")]
        held = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        held += [one for kind in states for one in kind.values()]
        total += sum(one.numel() * one.element_size() for one in held if torch.is_tensor(one))
    return total


def _obstacle(model: PreTrainedModel, length: int) -> str:
    """Why a model cannot read so many tokens; empty if it can."""
    if cache_name(model) is None:
        return "the model carries no state from window to window"
    is_known = model.config.model_type.removeprefix(PRUNED_PREFIX) in ANATOMIES
    limit = context_length(model.config) if is_known else None
    is_beyond = limit is not None and length > limit
    return f"the model's context is {limit} tokens" if is_beyond else ""


def _check(sequences: np.ndarray, lengths: Sequence[int], window: int) -> None:
    if window < 1:
        raise UsageError(f"a window of {window} tokens", "Read at least one token at a time.")
    if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1:
        raise UsageError(
            f"lengths {list(lengths)}", "Give positive lengths in ascending order, each once."
        )
    if sequences.shape[1] <= lengths[-1]:
        raise UsageError(
            f"sequences of {sequences.shape[1]} tokens predict {sequences.shape[1] - 1}, the "
            f"longest length is {lengths[-1]}",
            "Use longer sequences, or leave the longest length out.",
        )
