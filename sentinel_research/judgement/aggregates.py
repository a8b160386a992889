"""How lm-eval makes one number of a task's documents, as functions of weighted documents.

A resample gives every unit (a document, a cluster of them, a block of windows) a weight: how often
it was drawn. A metric of a resample is then the metric itself of weighted units. Almost all metrics
are functions of sums over units (means, perplexities, tables, Pearson's correlation), so that
thousands of resamples are one matrix product; ranks and thresholds are computed from the items.

Metrics are known by the name of the function that the task gives to lm-eval, which keeps its source
in the record. What a name stands for here is held against the recorded value of every comparison.
"""

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from sentinel_research.judgement import ranks
from sentinel_research.metrics import classification, questions

Weights = Float[np.ndarray, "resamples units"]
Values = Float[np.ndarray, " resamples"]
Items = Float[np.ndarray, "items columns"]
_SOURCE = re.compile(r"def (\w+)\(")


class Joint(NamedTuple):
    """One metric of two models on the same units."""

    first: Callable[[Weights], Values]
    """The reference's, by the weights of the units."""
    second: Callable[[Weights], Values]
    """The other's."""
    mixed: Callable[[Weights], Values]
    """The metric of units that are the other's where the argument is 1, the reference's where it is
    0."""
    differs: Shaped[np.ndarray, " units"]
    """Whether the two differ on a unit at all."""


class Aggregate(NamedTuple):
    """A metric: what it reads of an item, and what it makes of them."""

    encode: Callable[[Any], Sequence[float]]
    """One item of lm-eval's samples as numbers."""
    join: Callable[[Items, Items, Int[np.ndarray, " items"], int], Joint]
    """The metric of both models' items, of the unit of each item, and of the number of units."""
    cluster: Callable[[Any], Hashable] | None = None
    """What an item shares with others; null if items do not say."""
    is_mean: bool = False
    """Whether it is the mean of the first column, times a constant."""


def aggregation_name(entry: Mapping[str, Any]) -> str:
    """The function that a task of lm-eval names for a metric.

    Args:
        entry: Of the `metric_list` of a recorded configuration: a name, or the source of a
            function; without either, lm-eval's own for the metric.

    Returns:
        Its name; empty if lm-eval knows none.

    Example:
        >>> aggregation_name({"metric": "mcc", "aggregation": "def matthews(items):\\n    ..."})
        'matthews'
    """
    found = entry.get("aggregation")
    if found is None:
        from lm_eval.api import metrics, registry

        assert metrics  # importing it fills the registry
        own = registry.get_metric_aggregation(entry["metric"])
        found = "" if own is None else own.__name__
    source = _SOURCE.match(found)
    return source[1] if source else found


def _of_sums(
    finish: Callable[[Any], Values],
    tabulate: Callable[..., Float[np.ndarray, "units columns"]] | None = None,
) -> Callable[..., Joint]:
    """A metric that is a function of sums over units."""
    tabulate = tabulate or _sums

    def join(first: Items, second: Items, units: Any, num_units: int) -> Joint:
        one, other = tabulate(first, units, num_units), tabulate(second, units, num_units)
        return Joint(
            lambda weights: finish(weights @ one),
            lambda weights: finish(weights @ other),
            lambda swapped: finish(one.sum(0) + swapped @ (other - one)),
            (one != other).any(axis=1),
        )

    return join


def _sums(items: Items, units: Any, num_units: int) -> Float[np.ndarray, "units columns"]:
    columns = [np.bincount(units, weights=column, minlength=num_units) for column in items.T]
    return np.stack(columns, axis=1)


def _of_items(statistic: Callable[[Items, Any], Values]) -> Callable[..., Joint]:
    """A metric that needs every item with its weight."""

    def join(first: Items, second: Items, units: Any, num_units: int) -> Joint:
        both = np.concatenate([first, second])

        def mixed(swapped: Weights) -> Values:
            of_items = swapped[:, units]
            return statistic(both, np.concatenate([1 - of_items, of_items], axis=1))

        differs = np.bincount(units, weights=(first != second).any(axis=1), minlength=num_units)
        return Joint(
            lambda weights: statistic(first, weights[:, units]),
            lambda weights: statistic(second, weights[:, units]),
            mixed,
            differs > 0,
        )

    return join


def _table(num_classes: int, finish: Callable[[Any], Values]) -> Aggregate:
    """A metric of right and given classes."""

    def encode(item: Any) -> list[float]:
        right, given = item
        cells = np.zeros((num_classes, num_classes))
        cells[_class(right, num_classes), _class(given, num_classes)] = 1
        return cells.ravel().tolist()

    return Aggregate(
        encode,
        _of_sums(lambda sums: finish(sums.reshape(*sums.shape[:-1], num_classes, num_classes))),
    )


def _class(value: Any, num_classes: int) -> int:
    if value not in range(num_classes):
        raise ValueError(f"{value} is none of the classes 0 to {num_classes - 1}")
    return int(value)


def _mean(scale: float) -> Aggregate:
    """Of numbers, or of numbers with the text that each is about."""
    return Aggregate(
        lambda item: [float(item[0] if isinstance(item, list) else item), 1.0],
        _of_sums(lambda sums: scale * sums[..., 0] / sums[..., 1]),
        lambda item: item[1] if isinstance(item, list) else None,
        is_mean=True,
    )


def _exp(loss: Any) -> Values:
    # a metric beyond a double is infinite in lm-eval too, and refused after the resampling
    with np.errstate(over="ignore"):
        return np.exp(loss)


def _pearson(sums: Any) -> Values:
    x, y, xx, yy, xy, total = np.moveaxis(sums, -1, 0)
    spread = (total * xx - x * x) * (total * yy - y * y)
    with np.errstate(divide="ignore", invalid="ignore"):
        # NaN where one side is constant, as in scipy; refused after the resampling
        found = np.where(spread > 0, (total * xy - x * y) / np.sqrt(np.abs(spread)), np.nan)
    return np.clip(found, -1.0, 1.0)


def _mean_of_parts(sums: Any) -> Values:
    """Of MNLI's two splits, as many of them as are in a resample."""
    hits, counts = sums[..., :2], sums[..., 2:]
    means = np.divide(hits, counts, out=np.zeros_like(hits), where=counts > 0)
    return means.sum(axis=-1) / (counts > 0).sum(axis=-1)


def _part(item: Any) -> list[float]:
    value, part = item
    place = {"matched": 0, "mismatched": 1}[part]
    return [float(value) * (place == 0), float(value) * place, float(place == 0), float(place)]


def _options(items: Items, *_: Any) -> Float[np.ndarray, "units columns"]:
    """MultiRC's sums by paragraph; units are paragraphs, in the order of their first option."""
    options = [
        questions.Option(int(item[0]), int(item[1]), bool(item[2]), bool(item[3])) for item in items
    ]
    return questions.sums_by_paragraph(options)


def _of_options(statistic: Callable[[Any], Any]) -> Aggregate:
    return Aggregate(
        lambda item: [float(part) for part in _checked(item, 4)],
        _of_sums(lambda sums: statistic(questions.Sums(*np.moveaxis(sums, -1, 0))), _options),
        lambda item: item[0],
    )


def _checked(item: Any, length: int) -> Any:
    if len(item) != length:
        raise ValueError(f"{item} has {len(item)} parts, not {length}")
    return item


_WEIGHTED = _of_sums(lambda sums: _exp(-sums[..., 0] / sums[..., 1]))
_BITS = _of_sums(lambda sums: -sums[..., 0] / sums[..., 1] / math.log(2))


def _shares(item: Any) -> list[float]:
    return [float(part) for part in _checked(item, 2)]


PER_UNIT = {"weighted_perplexity", "bits_per_unit", "bits_per_byte"}
"""Aggregations of a log-likelihood and its units, which texts of few documents have by window."""
AGGREGATES = {
    "mean": _mean(1.0),
    "percent": _mean(100.0),
    "weighted_perplexity": Aggregate(_shares, _WEIGHTED),
    "bits_per_unit": Aggregate(_shares, _BITS),
    "bits_per_byte": Aggregate(_shares, _BITS),
    "perplexity": Aggregate(lambda item: [float(item), 1.0], _WEIGHTED),
    "matthews": _table(2, classification.matthews_correlation),
    "matthews_corrcoef": _table(2, classification.matthews_correlation),
    "f1": _table(2, classification.binary_f1),
    "f1_score": _table(2, classification.binary_f1),
    "accuracy_and_f1": _table(
        2, classification.mean_of(classification.accuracy, classification.binary_f1)
    ),
    "macro_f1": _table(3, classification.macro_f1),
    "accuracy_and_macro_f1": _table(
        3, classification.mean_of(classification.accuracy, classification.macro_f1)
    ),
    "mean_of_parts": Aggregate(_part, _of_sums(_mean_of_parts)),
    "pearson": Aggregate(
        lambda item: _moments(*_shares(item)),
        _of_sums(_pearson),
    ),
    "spearman": Aggregate(_shares, _of_items(ranks.spearman)),
    "mean_correlation": Aggregate(_shares, _of_items(ranks.mean_correlation)),
    "best_percent": Aggregate(
        lambda item: [float(part) for part in _checked(item, 5)[:4]],
        _of_items(ranks.best_percent),
        lambda item: item[4],
    ),
    "f1_of_options": _of_options(questions.f1_of_sums),
    "exact_questions": _of_options(questions.exact_of_sums),
    "multirc_score": _of_options(questions.score_of_sums),
}
"""What is known, by the name of its function."""


def _moments(x: float, y: float) -> list[float]:
    return [x, y, x * x, y * y, x * y, 1.0]
