"""Intervals against their definitions."""

import numpy as np
import pytest
from scipy import stats

from sentinel_research.statistics import mean_interval, normal_interval


def test_normal_interval_is_symmetric_and_scales_with_the_standard_error() -> None:
    interval = normal_interval(5.0, 2.0)
    assert interval.high - 5.0 == pytest.approx(5.0 - interval.low)
    assert interval.high == pytest.approx(5.0 + 1.959964 * 2.0, abs=1e-5)


def test_mean_interval_agrees_with_scipy() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values)[1:] == pytest.approx(expected)


def test_mean_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        interval = mean_interval(list(rng.normal(3.0, 1.0, 5)), confidence=0.9)
        covered += interval.low <= 3.0 <= interval.high
    # 900 expected, standard deviation 9.5
    assert 860 <= covered <= 940


def test_interval_over_one_repetition_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval([1.0])


def test_negative_standard_error_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        normal_interval(0.0, -1.0)
