"""Accuracy, F1 and Matthews correlation, as functions of confusion tables.

A table has one row a right class and one column a predicted class. Tables may have leading axes, so
that thousands of resampled ones are one call. A quotient of 0 by 0 is 0, as in scikit-learn.

References:
    [1] van Rijsbergen, Information Retrieval (1979), chapter 7: F1.
    [2] Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient
        (2004), equation 8: Matthews correlation of K classes.
        https://doi.org/10.1016/j.compbiolchem.2004.09.006
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from sentinel_research.errors import UsageError
from sentinel_research.metrics.resampling import StandardError

Statistic = Callable[[Any], Float[np.ndarray, "..."]]
"""Maps confusion tables [..., classes, classes] to numbers [...]."""


def confusion_table(
    references: Sequence[int], predictions: Sequence[int], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How often each right class was given as each.

    Args:
        references: Right classes, in [0, num_classes).
        predictions: Predicted classes, likewise.
        num_classes: Number of classes.

    Raises:
        UsageError: for no items, different numbers of them, or a class outside the range.

    Example:
        >>> confusion_table([0, 1, 1], [0, 0, 1], 2).tolist()
        [[1, 0], [1, 1]]
    """
    if len(references) != len(predictions) or not len(references):
        raise UsageError(
            f"{len(predictions)} predictions for {len(references)} references",
            "Give one of each per item, at least one.",
        )
    rows, columns = np.asarray(references), np.asarray(predictions)
    for name, values in (("reference", rows), ("prediction", columns)):
        outside = values[(values < 0) | (values >= num_classes)]
        if len(outside):
            raise UsageError(
                f"{name} {outside[0]} is not one of the classes 0 to {num_classes - 1}",
                "Hidden labels are -1: score a split whose labels are known.",
            )
    cells = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def accuracy(table: Shaped[np.ndarray, "*batch classes classes"]) -> Float[np.ndarray, "*batch"]:
    """Part of the items whose class was given."""
    hits = np.trace(table, axis1=-2, axis2=-1)
    return hits / table.sum((-2, -1))


def accuracy_stderr(table: Int[np.ndarray, "classes classes"]) -> StandardError:
    """Standard error of `accuracy` in closed form, lm-eval's; "N/A" below two items.

    Example:
        >>> accuracy_stderr(np.array([[50, 0], [51, 0]]))
        0.0499...
    """
    num_items = int(table.sum())
    if num_items < 2:
        return "N/A"
    mean = float(accuracy(table))
    return math.sqrt(mean * (1 - mean) / (num_items - 1))


def class_f1(
    table: Shaped[np.ndarray, "*batch classes classes"],
) -> Float[np.ndarray, "*batch classes"]:
    """F1 of each class [1]: harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN)."""
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    return _quotient(2 * hits, table.sum(-1) + table.sum(-2))


def binary_f1(table: Shaped[np.ndarray, "*batch 2 2"]) -> Float[np.ndarray, "*batch"]:
    """F1 of class 1 of two [1]."""
    return class_f1(table)[..., 1]


def macro_f1(table: Shaped[np.ndarray, "*batch classes classes"]) -> Float[np.ndarray, "*batch"]:
    """Mean of the F1 of all classes of the table, those included that never come."""
    return class_f1(table).mean(-1)


def matthews_correlation(
    table: Shaped[np.ndarray, "*batch classes classes"],
) -> Float[np.ndarray, "*batch"]:
    """Correlation of right and predicted classes, in [-1, 1] [2]; 0 if one of them is constant."""
    counts = np.asarray(table, dtype=np.float64)
    total = counts.sum((-2, -1))
    right, given = counts.sum(-1), counts.sum(-2)
    hits = np.trace(counts, axis1=-2, axis2=-1)
    covariance = hits * total - (right * given).sum(-1)
    spread = (total**2 - (right**2).sum(-1)) * (total**2 - (given**2).sum(-1))
    return _quotient(covariance, np.sqrt(spread))


def mean_of(*statistics: Statistic) -> Statistic:
    """The mean of several statistics of one table, such as GLUE's score of accuracy and F1."""

    def statistic(table: Any) -> Float[np.ndarray, "..."]:
        return np.mean([one(table) for one in statistics], axis=0)

    return statistic


def _quotient(
    above: Shaped[np.ndarray, "*shape"], below: Shaped[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
