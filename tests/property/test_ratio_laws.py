"""Fieller's interval against its own definition, by Student's t test."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies
from scipy import stats

from sentinel_research.paired import paired_ratio


@given(
    noise=strategies.lists(
        strategies.tuples(strategies.floats(-1, 1), strategies.floats(-1, 1)),
        min_size=2,
        max_size=6,
    ),
    means=strategies.tuples(strategies.floats(-5, 5), strategies.floats(-20, 20)),
    unit=strategies.floats(0.01, 100),
)
def test_ratios_interval_ends_where_the_t_test_begins_to_reject(
    noise: list[tuple[float, float]], means: tuple[float, float], unit: float
) -> None:
    """Also: it is bounded where the test tells the denominators from 0; units do not matter."""
    above, below = (np.array(noise) + means).T
    error = stats.sem(below)
    # far enough from the places where roots of rounding errors decide
    assume(error > 1e-3 and stats.sem(above) > 1e-3 and abs(below.mean()) > 1e-3)
    critical = float(stats.t.ppf(0.975, len(noise) - 1))
    distance = abs(float(below.mean())) / error / critical
    assume(abs(distance - 1) > 1e-3)
    interval = paired_ratio(list(above), list(below))
    if distance < 1:
        assert interval is None
        return
    assert interval is not None
    assert interval.low <= interval.value <= interval.high
    for end in interval[1:]:
        rest = above - end * below
        # t is at the critical value; the spread of the rest may vanish for points on a line
        margin = critical * float(stats.sem(rest)) + 1e-6 * (1 + abs(end))
        assert abs(float(rest.mean())) == pytest.approx(margin, rel=1e-3, abs=1e-5)
    scaled = paired_ratio(list(above * unit), list(below * unit))
    assert scaled == pytest.approx(interval, rel=1e-6, abs=1e-9)
