"""Pearson's and Spearman's correlation of predicted and right numbers, with standard errors.

The standard errors are the infinitesimal jackknife [1]: the spread of how much each item moves the
correlation, in closed form. It does not take the numbers for normal, as Fisher's z does, which
scores of 0 to 5 are not. An item moves Pearson's r directly [2]; it moves Spearman's rho directly,
as a pair of ranks, and by raising the rank of every greater item.

References:
    [1] Efron, Tibshirani, An Introduction to the Bootstrap (1993), section 21.5.
    [2] Devlin, Gnanadesikan, Kettenring, Robust Estimation and Outlier Detection with Correlation
        Coefficients (1975), equation 2.3. https://doi.org/10.1093/biomet/62.3.531
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from sentinel_research.errors import UsageError
from sentinel_research.metrics.resampling import StandardError

MIN_ITEMS = 3
"""Below, every correlation is 1, -1 or undefined, and has no standard error."""


def pearson(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Pearson's correlation; NaN, as in scipy, if one side is constant.

    Raises:
        UsageError: for no items or different numbers of them.

    Example:
        >>> pearson([1, 2, 3], [2, 4, 6])
        1.0
    """
    return _pearson(*_pairs(references, predictions))


def spearman(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Spearman's correlation, Pearson's of the ranks, ties sharing their mean rank.

    Raises:
        UsageError: for no items or different numbers of them.

    Example:
        >>> spearman([1, 2, 3], [1, 10, 100])
        1.0
    """
    x, y = _pairs(references, predictions)
    return _pearson(rankdata(x), rankdata(y))


def mean_correlation(references: Sequence[float], predictions: Sequence[float]) -> float:
    """GLUE's score of STS-B: the mean of both."""
    return (pearson(references, predictions) + spearman(references, predictions)) / 2


def pearson_stderr(references: Sequence[float], predictions: Sequence[float]) -> StandardError:
    """Standard error of `pearson`; "N/A" if that is undefined, or below three items."""
    x, y = _pairs(references, predictions)
    return _spread(_pearson_influence(x, y)) if _has_spread(x, y) else "N/A"


def spearman_stderr(references: Sequence[float], predictions: Sequence[float]) -> StandardError:
    """Standard error of `spearman`; "N/A" if that is undefined, or below three items."""
    x, y = _pairs(references, predictions)
    return _spread(_spearman_influence(x, y)) if _has_spread(x, y) else "N/A"


def mean_correlation_stderr(
    references: Sequence[float], predictions: Sequence[float]
) -> StandardError:
    """Standard error of `mean_correlation`, which is not that of two independent numbers."""
    x, y = _pairs(references, predictions)
    if not _has_spread(x, y):
        return "N/A"
    return _spread((_pearson_influence(x, y) + _spearman_influence(x, y)) / 2)


def _pairs(
    references: Sequence[float], predictions: Sequence[float]
) -> tuple[Float[np.ndarray, " items"], Float[np.ndarray, " items"]]:
    if len(references) != len(predictions) or not len(references):
        raise UsageError(
            f"{len(predictions)} predictions for {len(references)} references",
            "Give one of each per item, at least one.",
        )
    return np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64)


def _has_spread(x: Float[np.ndarray, " items"], y: Float[np.ndarray, " items"]) -> bool:
    return len(x) >= MIN_ITEMS and bool(np.ptp(x) > 0) and bool(np.ptp(y) > 0)


def _standardized(values: Float[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    return (values - values.mean()) / values.std()


def _pearson(x: Float[np.ndarray, " items"], y: Float[np.ndarray, " items"]) -> float:
    if not np.ptp(x) > 0 or not np.ptp(y) > 0:
        return math.nan
    # rounding may lead a last bit beyond the range
    return float(np.clip((_standardized(x) * _standardized(y)).mean(), -1.0, 1.0))


def _spread(influence: Float[np.ndarray, " items"]) -> float:
    return float(influence.std(ddof=1)) / math.sqrt(len(influence))


def _pearson_influence(
    x: Float[np.ndarray, " items"], y: Float[np.ndarray, " items"]
) -> Float[np.ndarray, " items"]:
    """How much each item moves Pearson's correlation, per unit of its share of the items [2]."""
    x, y = _standardized(x), _standardized(y)
    return x * y - (x * y).mean() * (x * x + y * y) / 2


def _spearman_influence(
    x: Float[np.ndarray, " items"], y: Float[np.ndarray, " items"]
) -> Float[np.ndarray, " items"]:
    ranks_x, ranks_y = rankdata(x), rankdata(y)
    as_pair = _pearson_influence(ranks_x, ranks_y)
    return as_pair + _by_ranks(ranks_x, ranks_y) + _by_ranks(ranks_y, ranks_x)


def _by_ranks(
    ranks: Float[np.ndarray, " items"], others: Float[np.ndarray, " items"]
) -> Float[np.ndarray, " items"]:
    """How much each item moves the correlation by raising the ranks of greater items by one, and
    those of equal ones by a half."""
    one, other = _standardized(ranks), _standardized(others)
    # what raising the rank of an item by one does to the correlation, times the number of items
    slope = (other - (one * other).mean() * one) / ranks.std()
    _, groups = np.unique(ranks, return_inverse=True)
    sums = np.bincount(groups, weights=slope)
    above = slope.sum() - np.cumsum(sums)
    return (above + sums / 2)[groups]
