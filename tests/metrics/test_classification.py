"""Accuracy, F1 and Matthews correlation: scikit-learn's values, and lm-eval's standard errors."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api import metrics as theirs
from sklearn import metrics as sklearn

from sentinel_research.errors import UsageError
from sentinel_research.evaluation import benchmark_results as ours
from sentinel_research.metrics.classification import (
    accuracy,
    accuracy_stderr,
    binary_f1,
    class_f1,
    confusion_table,
    macro_f1,
    matthews_correlation,
    mean_of,
)
from sentinel_research.metrics.resampling import table_stderr

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)


def _skewed(num_items: int, seed: int) -> list[ours.Classified]:
    """A classifier that is right two times in three, and right classes that are not balanced."""
    rng = np.random.default_rng(seed)
    right = rng.random(num_items) < 0.3
    given = np.where(rng.random(num_items) < 0.67, right, ~right)
    return [ours.Classified(int(a), int(b)) for a, b in zip(right, given, strict=True)]


@given(PAIRS)
def test_values_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    right, given_ = zip(*pairs, strict=True)
    table = confusion_table(right, given_, 3)
    with warnings.catch_warnings():
        # scikit-learn warns about a class that never comes, and about a single one
        warnings.simplefilter("ignore")
        of_classes = sklearn.f1_score(right, given_, labels=[0, 1, 2], average=None)
        mcc = sklearn.matthews_corrcoef(right, given_)
    assert accuracy(table) == pytest.approx(sklearn.accuracy_score(right, given_), rel=1e-12)
    assert class_f1(table) == pytest.approx(of_classes, rel=1e-12)
    assert macro_f1(table) == pytest.approx(of_classes.mean(), rel=1e-12)
    # a quotient of differences of products: exact whole numbers, then one root
    assert matthews_correlation(table) == pytest.approx(mcc, rel=1e-9, abs=1e-12)


@given(PAIRS, PAIRS)
def test_many_tables_at_once_are_each_alone(first: list, second: list) -> None:
    tables = [confusion_table(*zip(*pairs, strict=True), 3) for pairs in (first, second)]
    together = mean_of(accuracy, macro_f1, matthews_correlation)(np.stack(tables))
    alone = [mean_of(accuracy, macro_f1, matthews_correlation)(table) for table in tables]
    assert together.tolist() == alone


@pytest.mark.parametrize(
    ("right", "given_", "message"),
    [
        ([0, -1], [0, 1], "reference -1 is not one of the classes 0 to 1"),
        ([0, 1], [0, 2], "prediction 2 is not one of the classes 0 to 1"),
        ([0, 1], [0], "1 predictions for 2 references"),
        ([], [], "0 predictions for 0 references"),
    ],
    ids=["hidden label", "unknown class", "lengths differ", "nothing"],
)
def test_labels_outside_the_list_are_refused(right: list, given_: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        confusion_table(right, given_, 2)


def test_accuracy_has_lm_evals_standard_error() -> None:
    items = _skewed(200, seed=0)
    hits = [float(item.right == item.given) for item in items]
    found = accuracy_stderr(confusion_table(*zip(*items, strict=True), 2))
    assert found == pytest.approx(theirs.mean_stderr(hits), rel=1e-12)
    assert accuracy_stderr(np.array([[1, 0], [0, 0]])) == "N/A"


def test_spread_of_a_cell_of_a_table_is_its_own() -> None:
    table = np.array([[40, 10, 5], [0, 30, 15]])
    for row, column in np.ndindex(table.shape):
        share = table[row, column] / 100
        spread = table_stderr(table, lambda many, at=(row, column): many[..., at[0], at[1]] / 100)
        # half a percent of error of 20,000 resamples, four times
        assert spread == pytest.approx((share * (1 - share) / 100) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["f1", "matthews", "macro_f1", "accuracy_and_f1"])
def test_standard_error_agrees_with_lm_evals_bootstrap(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    items = _skewed(60, seed=1)
    value, stderr = getattr(ours, name), getattr(ours, f"{name}_stderr")
    # 4,000 resamples know a standard error to 1 / sqrt(8000) = 1.1 percent, ours to 0.5; both are
    # seeded
    bootstrap = theirs.bootstrap_stderr(value, items, iters=4000)
    assert stderr(items) == pytest.approx(bootstrap, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "their_metric"),
    [("f1", theirs.f1_score), ("matthews", theirs.matthews_corrcoef)],
)
def test_standard_error_agrees_with_lm_evals_bootstrap_of_its_own_metric(
    name: str, their_metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    items = _skewed(120, seed=1)
    assert getattr(ours, name)(items) == pytest.approx(their_metric(items), rel=1e-12)
    bootstrap = theirs.bootstrap_stderr(their_metric, items, iters=4000)
    assert getattr(ours, f"{name}_stderr")(items) == pytest.approx(bootstrap, rel=0.03)


def test_error_of_the_mean_of_two_metrics_knows_that_they_go_together() -> None:
    items = _skewed(300, seed=3)
    table = confusion_table(*zip(*items, strict=True), 2)
    separate = np.hypot(table_stderr(table, accuracy), table_stderr(table, binary_f1)) / 2
    assert ours.accuracy_and_f1_stderr(items) > 1.2 * separate


def test_error_bars_of_forty_thousand_documents_take_milliseconds() -> None:
    import time

    items = _skewed(40_000, seed=4)
    table = confusion_table(*zip(*items, strict=True), 2)
    start = time.process_time()
    table_stderr(table, binary_f1)
    # 10 ms here; lm-eval needs three hours
    assert time.process_time() - start < 0.5


def test_mean_of_two_parts_weighs_them_alike() -> None:
    items = [ours.Hit(1.0, "matched")] * 30 + [ours.Hit(0.0, "mismatched")] * 10
    items += [ours.Hit(0.0, "matched")] * 10
    assert ours.mean_of_parts(items) == pytest.approx(0.75 / 2)
    expected = np.sqrt(0.75 * 0.25 / 39) / 2
    assert ours.mean_of_parts_stderr(items) == pytest.approx(expected)
    assert ours.mean_of_parts_stderr(items[:1]) == "N/A"
