"""Standard errors of statistics that are no means, in milliseconds.

Independent items: a bootstrap [1] resamples N items with replacement. Where a statistic depends on
the items only through the counts of a few cells (a confusion table), the resampled counts are one
multinomial draw, so that a resample costs as much as the table has cells and not N.

Items in clusters (questions on one text): whole clusters are resampled, and a mean has a closed
form [2].

Statistics that count different things (n-grams of a set of texts) are biased under a bootstrap, in
which an item meets itself again: for them there is the jackknife, which leaves one item out [3].

References:
    [1] Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
    [2] Miller, Adding Error Bars to Evals (2024), section 2.2. https://arxiv.org/abs/2411.00640
    [3] Efron, Stein, The jackknife estimate of variance (1981). https://doi.org/10.1214/aos/1176345462
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

StandardError = float | Literal["N/A"]
"""A standard error, or lm-eval's word for none."""

NUM_RESAMPLES = 20_000
"""Bootstrap resamples of tables; the standard error of the standard error is half a percent of it,
1 / sqrt(2 * NUM_RESAMPLES)."""
NUM_CLUSTER_RESAMPLES = 5000
"""Bootstrap resamples of clusters; likewise one percent."""
MIN_CLUSTERS = 10
"""With fewer clusters there is no standard error: a spread of so few says little."""

_SEED = 1234


def table_stderr(
    table: Int[np.ndarray, "*cells"], statistic: Callable[[Any], Float[np.ndarray, "..."]]
) -> StandardError:
    """Bootstrap standard error of a statistic of counts.

    Args:
        table: Counts of independent items; their sum is the number of items.
        statistic: Maps tables with leading axes, [..., *cells], to numbers [...].

    Returns:
        The spread of the statistic over resampled tables, in its unit; "N/A" below two items.

    Example:
        >>> table_stderr(np.array([50, 50]), lambda counts: counts[..., 0] / 100)
        0.0500...
    """
    num_items = int(table.sum())
    if num_items < 2:
        return "N/A"
    rng = np.random.default_rng(_SEED)
    counts = rng.multinomial(num_items, table.ravel() / num_items, size=NUM_RESAMPLES)
    return float(np.std(statistic(counts.reshape(-1, *table.shape)), ddof=1))


def clustered_stderr(
    sums: Float[np.ndarray, "clusters parts"],
    statistic: Callable[[Any], Float[np.ndarray, "..."]],
) -> StandardError:
    """Bootstrap standard error of a statistic of sums over items that come in clusters.

    Args:
        sums: What the statistic reads, summed over the items of each cluster.
        statistic: Maps sums over all clusters, [resamples, parts], to numbers [resamples].

    Returns:
        Its spread over resampled clusters, in its unit; "N/A" below `MIN_CLUSTERS` clusters.
    """
    num_clusters = len(sums)
    if num_clusters < MIN_CLUSTERS:
        return "N/A"
    rng = np.random.default_rng(_SEED)
    share = np.full(num_clusters, 1 / num_clusters)
    weights = rng.multinomial(num_clusters, share, size=NUM_CLUSTER_RESAMPLES)
    return float(np.std(statistic(weights @ sums), ddof=1))


def clustered_mean_stderr(
    values: Float[np.ndarray, " items"], clusters: Int[np.ndarray, " items"]
) -> StandardError:
    """Standard error of a mean of items that come in clusters, in closed form [2].

    Args:
        values: One number an item.
        clusters: The cluster of each, from 0 on without gaps.

    Returns:
        In the unit of the values; that of independent items if every cluster holds one, but for
        the factor sqrt(N / (N - 1)); "N/A" below `MIN_CLUSTERS` clusters.
    """
    residuals = values - values.mean()
    sums = np.bincount(clusters, weights=residuals)
    if len(sums) < MIN_CLUSTERS:
        return "N/A"
    # few clusters spread too little around their own mean
    correction = len(sums) / (len(sums) - 1)
    return math.sqrt(correction * float(np.square(sums).sum())) / len(values)


class Jackknife(NamedTuple):
    """What leaving out every item in turn says about a statistic."""

    stderr: float
    """Standard error in the unit of the statistic; its square is too large rather than too small
    in expectation [3]."""
    values: Float[np.ndarray, " items"]
    """A value an item, whose mean is the statistic and whose spread gives the error: subtract those
    of two statistics of the same items to compare them in pairs. Those of a mean are its items."""


def jackknife(value: float, without: Float[np.ndarray, " items"]) -> Jackknife:
    """Standard error of a statistic of independent items.

    Args:
        value: The statistic of all items.
        without: The same without each item in turn; two or more.

    Example:
        >>> jackknife(2.0, np.array([2.5, 2.0, 1.5])).values
        array([1., 2., 3.])
    """
    if len(without) < 2:
        raise ValueError(f"a jackknife needs at least 2 items, got {len(without)}")
    values = value + (len(without) - 1) * (without.mean() - without)
    return Jackknife(float(values.std(ddof=1)) / math.sqrt(len(without)), values)


def cluster_numbers(names: Any) -> Int[np.ndarray, " items"]:
    """Numbers from 0 on in the place of names, such as texts or tuples.

    Example:
        >>> cluster_numbers(["b", "a", "b"]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
