"""Metrics that no sums give: correlations of ranks, and the best threshold, of weighted items.

An item of weight `w` counts as `w` equal items.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

Weights = Float[np.ndarray, "resamples items"]
Values = Float[np.ndarray, " resamples"]


def spearman(pairs: Float[np.ndarray, "items 2"], weights: Weights) -> Values:
    """Spearman's correlation of both columns; NaN where one is constant.

    Example:
        >>> spearman(np.array([[1.0, 1.0], [2.0, 9.0], [3.0, 8.0]]), np.ones((1, 3)))
        array([0.5])
    """
    right, given = pairs.T
    return _pearson(_ranks(right, weights), _ranks(given, weights), weights)


def mean_correlation(pairs: Float[np.ndarray, "items 2"], weights: Weights) -> Values:
    """Mean of Pearson's and Spearman's correlation."""
    right, given = (np.broadcast_to(column, weights.shape) for column in pairs.T)
    return (_pearson(right, given, weights) + spearman(pairs, weights)) / 2


def best_percent(items: Float[np.ndarray, "items 4"], weights: Weights) -> Values:
    """SQuAD 2.0's best mean score over thresholds, see `metrics.answers.best_threshold`.

    Args:
        items: Score, whether there is an answer, whether one is given, and the probability of none.
        weights: Of the items.
    """
    score, has_answer, is_given, probability = items.T
    gains = np.where(has_answer > 0, score, -is_given)
    order = np.argsort(probability, kind="stable")
    silent = weights @ (1.0 - has_answer)
    gained = np.cumsum(weights[:, order] * gains[order], axis=1).max(axis=1)
    return 100 * (silent + np.maximum(gained, 0.0)) / weights.sum(axis=1)


def _ranks(values: Float[np.ndarray, " items"], weights: Weights) -> Weights:
    """Rank of each item among as many equal ones as its weight; ties share their mean rank."""
    _, groups = np.unique(values, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    totals = np.add.reduceat(weights[:, order], starts, axis=1)
    return (np.cumsum(totals, axis=1) - (totals - 1) / 2)[:, groups]


def _pearson(x: Any, y: Any, weights: Weights) -> Values:
    shares = weights / weights.sum(axis=1, keepdims=True)
    x = x - (shares * x).sum(axis=1, keepdims=True)
    y = y - (shares * y).sum(axis=1, keepdims=True)
    spread = (shares * x * x).sum(axis=1) * (shares * y * y).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # NaN where one side is constant, as in scipy; refused after the resampling
        found = np.where(spread > 0, (shares * x * y).sum(axis=1) / np.sqrt(spread), np.nan)
    return np.clip(found, -1.0, 1.0)
