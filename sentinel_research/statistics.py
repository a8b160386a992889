"""Intervals for measured numbers. Everything here is scipy; nothing draws randomness on its own."""

import functools
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A value with its confidence interval, all in the unit of the value."""

    value: float
    low: float
    high: float


def normal_interval(value: float, stderr: float, confidence: float = 0.95) -> Interval:
    """Interval of one measured value from its standard error, by the normal approximation.

    Args:
        value: The estimate.
        stderr: Its standard error, >= 0, in the same unit.
        confidence: Coverage in (0, 1).

    Example:
        >>> normal_interval(10.0, 1.0)
        Interval(value=10.0, low=8.040..., high=11.959...)
    """
    if stderr < 0:
        raise ValueError(f"a standard error is not negative, got {stderr}")
    half = _normal_quantile(0.5 + confidence / 2) * stderr
    return Interval(value, value - half, value + half)


@functools.cache
def _normal_quantile(share: float) -> float:
    # a third of a millisecond each time: ten seconds of a report of ten thousand cells
    from scipy import stats

    return float(stats.norm.ppf(share))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent repetitions (such as seeds).

    Args:
        values: At least two repetitions.
        confidence: Coverage in (0, 1).

    Raises:
        ValueError: with fewer than two values, where no spread can be estimated.
    """
    import numpy as np
    from scipy import stats

    if len(values) < 2:
        raise ValueError(f"an interval over repetitions needs at least 2 values, got {len(values)}")
    array = np.asarray(values, dtype=np.float64)
    stderr = float(array.std(ddof=1)) / len(array) ** 0.5
    half = float(stats.t.ppf(0.5 + confidence / 2, len(array) - 1)) * stderr
    mean = float(array.mean())
    return Interval(mean, mean - half, mean + half)


class RankCorrelation(NamedTuple):
    """How far two scores order the same units alike; both coefficients or a reason for neither."""

    spearman: float | None
    """Pearson correlation of the ranks, in [-1, 1]; ties share their mean rank."""
    kendall: float | None
    """Tau-b: concordant less discordant pairs, corrected for ties, in [-1, 1]."""
    reason: str = ""
    """Why there is no coefficient; empty if there is one."""


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Spearman's rho and Kendall's tau-b between two scores of the same units.

    Args:
        first: One finite score per unit.
        second: Another score of the same units, in the same order.

    Raises:
        ValueError: for scores of different numbers of units, or that are not finite.

    Example:
        >>> rank_correlation([1.0, 2.0, 3.0], [1.0, 4.0, 9.0]).spearman
        1.0
    """
    import numpy as np
    from scipy import stats

    if len(first) != len(second):
        raise ValueError(f"scores of {len(first)} and of {len(second)} units cannot be compared")
    if not np.isfinite([*first, *second]).all():
        raise ValueError("scores to be ranked must be finite")
    if len(first) < 2:
        return RankCorrelation(None, None, f"{len(first)} unit(s) have no order")
    if len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(None, None, "a score that is the same for all units has no order")
    return RankCorrelation(
        float(stats.spearmanr(first, second).statistic),
        float(stats.kendalltau(first, second).statistic),
    )


class Position(NamedTuple):
    """Where a value stands among reference values, by the exact randomisation test."""

    num_beaten: int
    """Reference values that are strictly worse."""
    num_reference: int
    """Reference values."""
    p_better: float
    """Chance that a value of the reference's kind is at least as good; one-sided, exact."""
    p_worse: float
    """Chance that a value of the reference's kind is at most as good; one-sided, exact."""

    @property
    def p_two_sided(self) -> float:
        """Twice the smaller one-sided p, at most 1."""
        return min(1.0, 2 * min(self.p_better, self.p_worse))


def position_among(value: float, reference: Sequence[float], higher_is_better: bool) -> Position:
    """Rank a value among independent draws: `(1 + draws at least as good) / (1 + draws)` [1].

    The p is exact if the value is exchangeable with the draws under the null hypothesis. It cannot
    fall below `1 / (1 + draws)`, which many comparisons need it to.

    Args:
        value: What is tested.
        reference: At least one draw, in the same unit.
        higher_is_better: Direction of the unit.

    Reference:
        [1] Phipson and Smyth 2010, Permutation p-values should never be zero, equation 2,
        https://doi.org/10.2202/1544-6115.1585
    """
    if not reference:
        raise ValueError("a position needs at least one reference value")
    sign = 1 if higher_is_better else -1
    num_as_good = sum(sign * one >= sign * value for one in reference)
    num_as_bad = sum(sign * one <= sign * value for one in reference)
    num = len(reference)
    return Position(
        num - num_as_good, num, (1 + num_as_good) / (1 + num), (1 + num_as_bad) / (1 + num)
    )


class Prediction(NamedTuple):
    """How far a value lies from a normal sample, by Student's t with one degree less than draws."""

    t: float
    """Distance from the sample's mean in units of its prediction error."""
    p_value: float
    """Two-sided."""


def prediction_test(value: float, reference: Sequence[float]) -> Prediction | None:
    """Test whether one more draw from a normal sample would lie as far out as `value`.

    Args:
        value: What is tested, in the unit in which the reference is about normal.
        reference: At least two independent draws.

    Returns:
        The test, or None where the draws are all the same and have no spread.

    Raises:
        ValueError: with fewer than two draws.
    """
    import numpy as np
    from scipy import stats

    if len(reference) < 2:
        raise ValueError(f"a prediction needs at least 2 draws, got {len(reference)}")
    if len(set(reference)) == 1:
        return None
    array = np.asarray(reference, dtype=np.float64)
    error = float(array.std(ddof=1)) * (1 + 1 / len(array)) ** 0.5
    t = (value - float(array.mean())) / error
    return Prediction(t, 2 * float(stats.t.sf(abs(t), len(array) - 1)))


def normality_p(values: Sequence[float]) -> float | None:
    """P of Shapiro and Wilk's test that values are draws from one normal distribution.

    Args:
        values: Independent draws.

    Returns:
        The p; None for fewer than three draws or draws that are all the same.
    """
    from scipy import stats

    if len(values) < 3 or len(set(values)) == 1:
        return None
    return float(stats.shapiro(values).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of one family of tests by Holm's step-down method, in their own order.

    Rejecting where the adjusted p is below a level keeps the chance of any false rejection at or
    below it, whatever the dependence between the tests.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


class SelectionSizes(NamedTuple):
    """Units among which two selections of given sizes are drawn."""

    num_units: int
    num_first: int
    num_second: int


def expected_overlap(strata: Sequence[SelectionSizes]) -> float | None:
    """Expected Jaccard overlap of two independent random selections, exactly.

    Within a stratum the number of shared units is hypergeometric; strata are independent, so their
    sum has the convolution of the distributions. The overlap is `shared / (both - shared)`.

    Args:
        strata: Sizes; every selection within `[0, num_units]`.

    Returns:
        The expectation in [0, 1]; None if both selections are empty.

    Example:
        >>> expected_overlap([SelectionSizes(2, 1, 1)])
        0.5
    """
    import numpy as np
    from scipy import stats

    total = sum(one.num_first + one.num_second for one in strata)
    if total == 0:
        return None
    shared = np.ones(1)
    for one in strata:
        counts = np.arange(min(one.num_first, one.num_second) + 1)
        chances = stats.hypergeom.pmf(counts, one.num_units, one.num_first, one.num_second)
        shared = np.convolve(shared, chances)
    counts = np.arange(len(shared))
    return float((shared * counts / (total - counts)).sum())
