"""Perplexities of whole texts with standard errors, as functions that lm-eval tasks name.

lm-eval scores a text in windows and returns one log-likelihood. A task's `process_results` below
turns it into items, its `aggregation` an item list into a number. A metric named `X_stderr` takes
the place of the standard error that lm-eval would print for `X`; lm-eval 0.4.13 has none for
perplexities. Numbers are weighted by the corpus, as in lm-eval: exp(-sum of log-likelihoods / sum
of units), where a unit is a word, a UTF-8 byte or a token.

The standard error is a bootstrap [1] over documents where there are at least 20 of them. With
fewer, it is a bootstrap over blocks of consecutive windows [2], at most 200 of them, because
neighbouring windows are alike. This needs a model that reports its windows; `--model hf` does not,
and then there is no standard error. A block's words and bytes are not known: the document's are
shared out in proportion to the block's tokens.

References:
    [1] Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
    [2] Carlstein, The Use of Subseries Values for Estimating the Variance of a General Statistic
        from a Stationary Sequence (1986). https://doi.org/10.1214/aos/1176350057
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from sentinel_research.errors import DataError, UsageError

MIN_DOCUMENTS = 20
"""From this number on, documents are resampled, below it blocks of windows."""
MAX_BLOCKS = 200
"""Blocks of windows that are resampled, at most."""
MIN_BLOCKS = 10
"""With fewer blocks there is no standard error."""
NUM_RESAMPLES = 1000
"""Bootstrap resamples."""
LEAK_Z = -4.0
"""Standard errors below the source at which a model is held to know the future."""

_SEED = 1234


class RollingLogLikelihood(float):
    """The log-likelihood of a text in nats, a float that knows the windows it is the sum of.

    Args:
        window_log_likelihoods: Log-likelihood of each window, in nats, in the order of the text.
        window_num_tokens: Number of tokens predicted in each window.

    Raises:
        UsageError: if the two differ in length.

    Example:
        >>> total = RollingLogLikelihood((-3.0, -1.5), (2, 1))
        >>> total + 0.5, total.window_num_tokens
        (-4.0, (2, 1))
    """

    window_log_likelihoods: tuple[float, ...]
    window_num_tokens: tuple[int, ...]

    def __new__(
        cls, window_log_likelihoods: Sequence[float], window_num_tokens: Sequence[int]
    ) -> "RollingLogLikelihood":
        """Sum the windows."""
        if len(window_log_likelihoods) != len(window_num_tokens):
            raise UsageError(
                f"{len(window_log_likelihoods)} log-likelihoods, {len(window_num_tokens)} windows",
                "Give one of each per window.",
            )
        self = super().__new__(cls, sum(window_log_likelihoods))
        self.window_log_likelihoods = tuple(float(value) for value in window_log_likelihoods)
        self.window_num_tokens = tuple(int(count) for count in window_num_tokens)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Arguments of `__new__` for pickle and copy."""
        return self.window_log_likelihoods, self.window_num_tokens


class Scored(NamedTuple):
    """One document's share in a metric; what lm-eval gathers, aggregates and logs."""

    log_likelihood: float
    """Log-likelihood of the document in nats; a RollingLogLikelihood if its windows are known."""
    num_units: float
    """Its words, UTF-8 bytes or tokens."""


class Partition(NamedTuple):
    """What is resampled in place of a corpus."""

    parts: np.ndarray
    """Log-likelihood in nats and number of units, a row each."""
    kind: Literal["documents", "blocks of windows"]
    """What a row is."""


class LeakCheck(NamedTuple):
    """Whether a model did better than the source of the text, which no causal model can."""

    mean_difference_nats: float
    """Model's minus source's negative log-likelihood, mean over documents."""
    stderr: float
    """Standard error of that mean."""
    z: float
    """The mean in standard errors; zero if both are zero."""
    is_leak: bool
    """True if z is below -4."""


def process_results(doc: Mapping[str, Any], results: Sequence[float]) -> dict[str, Scored]:
    """Metric items of one document, for `output_type: loglikelihood_rolling`.

    Args:
        doc: A document with `num_words` and `num_bytes`, counted over its original text.
        results: Its log-likelihood, as the only entry.

    Returns:
        Items for word_perplexity, byte_perplexity and bits_per_byte, for token_perplexity if the
        model reports windows, and for the standard error of each.
    """
    (log_likelihood,) = results
    items = {
        "word_perplexity": Scored(log_likelihood, doc["num_words"]),
        "byte_perplexity": Scored(log_likelihood, doc["num_bytes"]),
        "bits_per_byte": Scored(log_likelihood, doc["num_bytes"]),
    }
    if isinstance(log_likelihood, RollingLogLikelihood):
        num_tokens = sum(log_likelihood.window_num_tokens)
        items["token_perplexity"] = Scored(log_likelihood, num_tokens)
    return _with_stderr(items)


def process_synthetic_results(
    doc: Mapping[str, Any], results: Sequence[float]
) -> dict[str, Scored | float]:
    """Metric items of one synthetic document: those of `process_results` and the source's own.

    Args:
        doc: A document that also has `log_prob` and `entropy`, both in nats.
        results: Its log-likelihood, as the only entry.

    Returns:
        In addition `floor_perplexity`, the source's perplexity on the same documents,
        `floor_entropy_rate_perplexity`, its exact expectation (without standard error), and
        `log_likelihood` and `source_log_prob` of the document in nats, for `leak_check`.
    """
    floor = _with_stderr({"floor_perplexity": Scored(doc["log_prob"], doc["num_words"])})
    return {
        **process_results(doc, results),
        **floor,
        "floor_entropy_rate_perplexity": Scored(-doc["entropy"], doc["num_words"]),
        "log_likelihood": float(results[0]),
        "source_log_prob": doc["log_prob"],
    }


def weighted_perplexity(items: Sequence[Scored]) -> float:
    """exp(-sum of log-likelihoods / sum of units); infinite if beyond a double.

    Raises:
        DataError: if the documents hold no unit at all.
    """
    try:
        return math.exp(_loss(items))
    except OverflowError:
        return math.inf


def bits_per_unit(items: Sequence[Scored]) -> float:
    """-sum of log-likelihoods / sum of units, in bits.

    Raises:
        DataError: if the documents hold no unit at all.
    """
    return _loss(items) / math.log(2)


def weighted_perplexity_stderr(items: Sequence[Scored]) -> float | Literal["N/A"]:
    """Bootstrap standard error of `weighted_perplexity`; lm-eval's "N/A" if there is none."""
    losses = _resampled_losses(items)
    perplexity = weighted_perplexity(items)
    if losses is None or not math.isfinite(perplexity):
        return "N/A"
    # relative to the estimate, because exp of a loss can be beyond a double
    return perplexity * float(np.exp(losses - _loss(items)).std(ddof=1))


def bits_per_unit_stderr(items: Sequence[Scored]) -> float | Literal["N/A"]:
    """Bootstrap standard error of `bits_per_unit`; lm-eval's "N/A" if there is none."""
    losses = _resampled_losses(items)
    return "N/A" if losses is None else float(losses.std(ddof=1)) / math.log(2)


def leak_check(log_likelihoods: Sequence[float], source_log_probs: Sequence[float]) -> LeakCheck:
    """Test whether a model beats the source of synthetic text.

    The expected negative log-likelihood of a causal model is at least the source's (Gibbs'
    inequality); a mean clearly below means that the model sees what it predicts, or was trained on
    these very documents.

    Args:
        log_likelihoods: The model's, one per document, in nats.
        source_log_probs: The source's, for the same documents, in nats.

    Raises:
        UsageError: if the lengths differ or there are fewer than two documents.

    Example:
        >>> leak_check([-5.0, -6.0, -5.5], [-4.0, -5.5, -5.0]).is_leak
        False
    """
    if len(log_likelihoods) != len(source_log_probs) or len(log_likelihoods) < 2:
        raise UsageError(
            f"{len(log_likelihoods)} log-likelihoods against {len(source_log_probs)} of the source",
            "Give both for the same documents, at least two.",
        )
    excess = np.asarray(source_log_probs, dtype=float) - np.asarray(log_likelihoods, dtype=float)
    mean = float(excess.mean())
    stderr = float(excess.std(ddof=1)) / math.sqrt(len(excess))
    # equal differences have no spread: any mean below zero is then infinitely far from it
    at_zero_spread = math.copysign(math.inf, mean) if mean else 0.0
    z = mean / stderr if stderr > 0 else at_zero_spread
    return LeakCheck(mean, stderr, z, z < LEAK_Z)


def _with_stderr(items: Mapping[str, Scored]) -> dict[str, Scored]:
    """Each item twice; the metric comes first, so that lm-eval keeps our standard error."""
    return {name: item for metric, item in items.items() for name in (metric, f"{metric}_stderr")}


def _loss(items: Sequence[Scored]) -> float:
    """Mean negative log-likelihood of a unit, in nats."""
    num_units = sum(units for _, units in items)
    if num_units == 0:
        raise DataError(
            f"the {len(items)} evaluated documents are empty",
            "Choose another split, or raise --limit.",
        )
    return -sum(log_likelihood for log_likelihood, _ in items) / num_units


def partition(items: Sequence[Scored]) -> Partition | None:
    """What is resampled: documents if there are enough, else blocks of consecutive windows.

    Args:
        items: Every document's share; those without units are left out.

    Returns:
        None if the documents are few and their windows unknown, or the blocks are too few.
    """
    filled = [item for item in items if item[1] > 0]
    if len(filled) >= MIN_DOCUMENTS:
        parts = np.array([[float(total), units] for total, units in filled])
        return Partition(parts, "documents")
    found = _blocks(filled)
    return None if found is None else Partition(found, "blocks of windows")


def _resampled_losses(items: Sequence[Scored]) -> np.ndarray | None:
    """Bootstrap replicates of `_loss`; None if the items do not allow any."""
    found = partition(items)
    if found is None:
        return None
    rng = np.random.default_rng(_SEED)
    share = np.full(len(found.parts), 1 / len(found.parts))
    weights = rng.multinomial(len(found.parts), share, size=NUM_RESAMPLES)
    totals = weights @ found.parts
    return -totals[:, 0] / totals[:, 1]


def _blocks(items: Sequence[Scored]) -> np.ndarray | None:
    """Log-likelihood and units of consecutive windows; None if windows are unknown or too few."""
    windowed = [(total, units) for total, units in items if isinstance(total, RollingLogLikelihood)]
    if len(windowed) < len(items):
        return None
    num_windows = sum(len(total.window_num_tokens) for total, _ in windowed)
    block_length = -(-num_windows // MAX_BLOCKS)
    parts = []
    for total, units in windowed:
        starts = np.arange(0, len(total.window_num_tokens), block_length)
        tokens = np.add.reduceat(np.array(total.window_num_tokens), starts)
        log_likelihoods = np.add.reduceat(np.array(total.window_log_likelihoods), starts)
        parts.append(np.stack([log_likelihoods, units * tokens / tokens.sum()], axis=1))
    blocks = np.concatenate(parts) if parts else np.zeros((0, 2))
    return blocks if len(blocks) >= MIN_BLOCKS else None
