"""Pearson's and Spearman's correlation: scipy's values, and error bars of a bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sentinel_research.errors import UsageError
from sentinel_research.metrics.correlation import (
    mean_correlation,
    mean_correlation_stderr,
    pearson,
    pearson_stderr,
    spearman,
    spearman_stderr,
)

# tenths, as people's scores are; ties are usual
SCORES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=30).map(
    lambda pairs: [(a / 10, b / 10) for a, b in pairs]
)


def _similar(num_items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 0 to 5 with many ties, and a noisy guess of them."""
    rng = np.random.default_rng(seed)
    right = np.round(rng.beta(0.7, 0.5, num_items) * 5, 0)
    return right, right + rng.normal(0, 1 + right / 3, num_items)


@given(SCORES)
def test_values_are_those_of_scipy(pairs: list[tuple[float, float]]) -> None:
    right, given_ = zip(*pairs, strict=True)
    assume(len(set(right)) > 1 and len(set(given_)) > 1)
    # standardising costs a few last bits
    expected = stats.pearsonr(right, given_).statistic
    assert pearson(right, given_) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    expected = stats.spearmanr(right, given_).statistic
    assert spearman(right, given_) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert mean_correlation(right, given_) == pytest.approx(
        (pearson(right, given_) + spearman(right, given_)) / 2
    )


@pytest.mark.parametrize(
    ("value", "stderr"),
    [
        (pearson, pearson_stderr),
        (spearman, spearman_stderr),
        (mean_correlation, mean_correlation_stderr),
    ],
)
def test_standard_error_is_that_of_resampled_documents(value, stderr) -> None:
    right, given_ = _similar(400, seed=0)
    rows = np.random.default_rng(1).integers(0, 400, (1500, 400))
    resampled = [value(right[row], given_[row]) for row in rows]
    # 1,500 resamples know it to 1.8 percent; the closed form leaves out terms of 1 / 400
    assert stderr(right, given_) == pytest.approx(np.std(resampled), rel=0.05)


def test_error_of_tied_ranks_that_do_not_rise_together_is_the_jackknifes() -> None:
    rng = np.random.default_rng(3)
    right = rng.choice([0.0, 1.0, 2.0], 400, p=[0.3, 0.5, 0.2])
    given_ = np.array([0.0, 2.0, 1.0])[right.astype(int)] + rng.integers(0, 2, 400)
    left_out = np.array(
        [spearman(np.delete(right, item), np.delete(given_, item)) for item in range(400)]
    )
    jackknife = math.sqrt(399 / 400 * np.square(left_out - left_out.mean()).sum())
    # both are exact; they differ in terms of 1 / 400
    assert spearman_stderr(right, given_) == pytest.approx(jackknife, rel=0.01)


def test_one_value_on_one_side_has_no_correlation_and_no_error() -> None:
    assert math.isnan(pearson([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]))
    assert math.isnan(spearman([0.0], [0.5]))
    assert pearson_stderr([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]) == "N/A"
    assert spearman_stderr([0.0, 1.0], [0.0, 1.0]) == "N/A"
    assert mean_correlation_stderr([0.0, 1.0], [0.0, 1.0]) == "N/A"


def test_different_numbers_of_items_are_refused() -> None:
    with pytest.raises(UsageError, match="1 predictions for 2 references"):
        pearson([1.0, 2.0], [1.0])
