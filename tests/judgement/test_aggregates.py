"""Metrics of weighted units are lm-eval's functions of repeated items."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api import metrics as stock

from sentinel_research.evaluation import benchmark_results as ours
from sentinel_research.evaluation import perplexity
from sentinel_research.judgement.aggregates import AGGREGATES, Joint, aggregation_name
from sentinel_research.metrics import answers, questions
from sentinel_research.metrics.resampling import cluster_numbers

NUM = 12
Make = Callable[[np.random.Generator], Any]


def _classes(num: int) -> Make:
    return lambda rng: [int(rng.integers(num)), int(rng.integers(num))]


def _similarity(rng: np.random.Generator) -> list[float]:
    # ties on purpose: people give halves
    return [float(rng.integers(11)) / 2, float(rng.integers(8))]


def _log_likelihood(rng: np.random.Generator) -> list[float]:
    return [-float(rng.uniform(1, 60)), int(rng.integers(1, 20))]


def _answerable(rng: np.random.Generator) -> list[Any]:
    has_answer, is_given = bool(rng.integers(2)), bool(rng.integers(2))
    return [float(rng.uniform()), has_answer, is_given, float(rng.uniform()), "text"]


CASES: dict[str, tuple[str, Callable[[Any], Any], Make]] = {
    "lm-eval's mean": ("mean", stock.mean, lambda rng: float(rng.integers(2))),
    "mean of clusters": ("mean", answers.mean, lambda rng: [float(rng.uniform()), "text"]),
    "percent": ("percent", answers.percent, lambda rng: [float(rng.uniform()), "text"]),
    "weighted_perplexity": (
        "weighted_perplexity",
        perplexity.weighted_perplexity,
        _log_likelihood,
    ),
    "lm-eval's weighted_perplexity": (
        "weighted_perplexity",
        stock.weighted_perplexity,
        _log_likelihood,
    ),
    "bits_per_unit": ("bits_per_unit", perplexity.bits_per_unit, _log_likelihood),
    "bits_per_byte": ("bits_per_byte", stock.bits_per_byte, _log_likelihood),
    "perplexity": ("perplexity", stock.perplexity, lambda rng: -float(rng.uniform(1, 9))),
    "matthews": ("matthews", ours.matthews, _classes(2)),
    "matthews_corrcoef": ("matthews_corrcoef", stock.matthews_corrcoef, _classes(2)),
    "f1": ("f1", ours.f1, _classes(2)),
    "lm-eval's f1": ("f1_score", stock.f1_score, _classes(2)),
    "accuracy_and_f1": ("accuracy_and_f1", ours.accuracy_and_f1, _classes(2)),
    "macro_f1": ("macro_f1", ours.macro_f1, _classes(3)),
    "accuracy_and_macro_f1": (
        "accuracy_and_macro_f1",
        ours.accuracy_and_macro_f1,
        _classes(3),
    ),
    "mean_of_parts": (
        "mean_of_parts",
        ours.mean_of_parts,
        lambda rng: [float(rng.integers(2)), ["matched", "mismatched"][rng.integers(2)]],
    ),
    "pearson": ("pearson", ours.pearson, _similarity),
    "spearman": ("spearman", ours.spearman, _similarity),
    "mean_correlation": ("mean_correlation", ours.mean_correlation, _similarity),
    "best_percent": ("best_percent", answers.best_percent, _answerable),
}
OPTIONS = {
    "f1_of_options": questions.f1_of_options,
    "exact_questions": questions.exact_questions,
    "multirc_score": questions.multirc_score,
}


def _join(name: str, first: list[Any], second: list[Any], units: np.ndarray) -> Joint:
    aggregate = AGGREGATES[name]
    items = [np.array([aggregate.encode(item) for item in side]) for side in (first, second)]
    return aggregate.join(items[0], items[1], units, int(units.max()) + 1)


def test_every_known_function_is_held_against_its_own() -> None:
    assert {name for name, *_ in CASES.values()} | OPTIONS.keys() == AGGREGATES.keys()


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**32))
def test_metric_of_weighted_units_is_that_of_repeated_items(case: str, seed: int) -> None:
    name, function, make = CASES[case]
    rng = np.random.default_rng(seed)
    first, second = ([make(rng) for _ in range(NUM)] for _ in range(2))
    joint = _join(name, first, second, np.arange(NUM))
    # each at least once: a constant or empty part has no correlation or mean
    weights = rng.integers(1, 4, size=(2, NUM))
    for side, found in ((first, joint.first), (second, joint.second)):
        repeated = [
            [item for item, weight in zip(side, row, strict=True) for _ in range(weight)]
            for row in weights
        ]
        expected = [float(function(items)) for items in repeated]
        # sums of 36 doubles in another order
        np.testing.assert_allclose(found(weights.astype(float)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**32))
def test_mixed_units_are_the_ones_of_the_other_where_swapped(case: str, seed: int) -> None:
    name, function, make = CASES[case]
    rng = np.random.default_rng(seed)
    first, second = ([make(rng) for _ in range(NUM)] for _ in range(2))
    swapped = rng.integers(0, 2, size=NUM)
    mixture = [
        other if is_swapped else one
        for one, other, is_swapped in zip(first, second, swapped, strict=True)
    ]
    joint = _join(name, first, second, np.arange(NUM))
    np.testing.assert_allclose(
        joint.mixed(swapped[None].astype(float)), [float(function(mixture))], rtol=1e-9, atol=1e-9
    )
    assert joint.differs.tolist() == [
        one != other for one, other in zip(first, second, strict=True)
    ]


@pytest.mark.parametrize("name", OPTIONS)
@given(seed=st.integers(0, 2**32))
def test_paragraphs_are_the_units_of_multirc(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = [
        [
            [paragraph, question, bool((paragraph + question + option) % 2), bool(rng.integers(2))]
            for paragraph in (7, 3, 5)
            for question in range(2)
            for option in range(2)
        ]
        for _ in range(2)
    ]
    units = cluster_numbers(item[0] for item in sides[0])
    joint = _join(name, sides[0], sides[1], units)
    # the first paragraph twice, the second not at all, under names of their own
    drawn = [
        [paragraph + 100 * copy, *rest]
        for copy in range(2)
        for paragraph, *rest in sides[0]
        if paragraph == 7
    ]
    drawn += [item for item in sides[0] if item[0] == 5]
    expected = OPTIONS[name]([questions.Option(*item) for item in drawn])
    assert joint.first(np.array([[2.0, 0.0, 1.0]])) == pytest.approx([expected])
    mixture = [*sides[1][:4], *sides[0][4:]]
    expected = OPTIONS[name]([questions.Option(*item) for item in mixture])
    assert joint.mixed(np.array([[1.0, 0.0, 0.0]])) == pytest.approx([expected])


@pytest.mark.parametrize("name", ["pearson", "spearman", "mean_correlation"])
def test_correlation_does_not_depend_on_the_unit(name: str) -> None:
    rng = np.random.default_rng(0)
    items = rng.uniform(size=(NUM, 2))
    ones = np.ones((1, NUM))
    found = [
        _join(name, (items / scale).tolist(), items.tolist(), np.arange(NUM)).first(ones)
        for scale in (1, 1000)
    ]
    assert found[1] == pytest.approx(found[0])


def test_clusters_sum_the_items_of_a_unit() -> None:
    units = np.array([0, 0, 1])
    joint = _join("mean", [1.0, 0.0, 1.0], [0.0, 1.0, 1.0], units)
    assert joint.first(np.array([[2.0, 1.0]])) == pytest.approx([3 / 5])
    # right and wrong change places within the cluster, whose sum is the same
    assert joint.differs.tolist() == [False, False]


@pytest.mark.parametrize(
    ("name", "num_classes"),
    [
        *((name, 2) for name in ("matthews", "matthews_corrcoef", "f1", "f1_score")),
        *(("accuracy_and_f1", 2), ("macro_f1", 3), ("accuracy_and_macro_f1", 3)),
    ],
)
def test_class_that_a_table_does_not_have_is_refused(name: str, num_classes: int) -> None:
    encode, message = AGGREGATES[name].encode, "{} is none of the classes 0 to {}"
    assert sum(encode([num_classes - 1, 0])) == 1
    for item in ([num_classes, 0], [0, num_classes]):
        with pytest.raises(ValueError, match=message.format(num_classes, num_classes - 1)):
            encode(item)


def test_metric_without_an_aggregation_has_that_of_lm_eval() -> None:
    assert aggregation_name({"metric": "acc_norm"}) == "mean"
    assert aggregation_name({"metric": "mcc"}) == "matthews_corrcoef"
    assert aggregation_name({"metric": "of nobody"}) == ""
