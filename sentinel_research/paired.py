"""Two things measured under the same repetitions (such as seeds): do they differ, and what share
is one of the other?"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sentinel_research.statistics import Interval, mean_interval

_POWER = 0.8
_NUM_STRATA = 10_000
_LEVEL = 0.05


class PairedTest(NamedTuple):
    """Two things measured under the same repetitions (such as seeds), by Student's t of pairs."""

    difference: Interval
    """Mean of first less second, with its 95% interval."""
    p_value: float
    """Two-sided."""
    detectable: float
    """The smallest true difference that this test, alone, finds four times in five."""
    num_pairs: int


def paired_test(first: Sequence[float], second: Sequence[float]) -> PairedTest | None:
    """Test whether two things differ by more than their repetitions do.

    Args:
        first: Its value in every repetition, at least two.
        second: The other's in the same repetitions, in the same order.

    Returns:
        The test, or None where all differences are the same and have no spread.

    Raises:
        ValueError: for different numbers of values, or fewer than two.

    Example:
        >>> round(paired_test([1.0, 2.0, 3.0], [0.5, 1.4, 2.6]).p_value, 3)
        0.013
    """
    import numpy as np
    from scipy import stats

    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values are not pairs")
    differences = np.subtract(first, second, dtype=np.float64)
    interval = mean_interval(differences.tolist())
    num = len(differences)
    stderr = float(differences.std(ddof=1)) / num**0.5
    # equal but for the rounding of the subtraction
    if stderr <= 1e-12 * max(1e-300, float(np.abs([*first, *second]).max())):
        return None
    p_value = 2 * float(stats.t.sf(abs(interval.value) / stderr, num - 1))
    return PairedTest(interval, p_value, detectable_shift(num) * stderr, num)


@cache
def detectable_shift(num_pairs: int, level: float = _LEVEL) -> float:
    """The smallest true mean that a two-sided t test of pairs finds four times in five.

    The `d` in standard errors of the mean that solves `P(|T| > t(1 - level / 2)) = 0.8`, where `T`
    is noncentral t with noncentrality `d`; about `z(1 - level / 2) + 0.84` with many pairs.

    Args:
        num_pairs: At least two.
        level: Of the test, in (0, 1).

    Example:
        >>> round(detectable_shift(1000), 2)
        2.81
    """
    import numpy as np
    from scipy import optimize, stats

    critical = float(stats.t.ppf(1 - level / 2, num_pairs - 1))
    # noncentral t as a normal over an independent chi: finite where scipy's own is not
    middles = (np.arange(_NUM_STRATA) + 0.5) / _NUM_STRATA
    spreads = np.sqrt(stats.chi2.ppf(middles, num_pairs - 1) / (num_pairs - 1))

    def lacks(shift: float) -> float:
        beyond = stats.norm.cdf([shift, -shift] - critical * spreads[:, None])
        return float(beyond.sum(axis=1).mean()) - _POWER

    # with one degree of freedom it is 1.3 times the critical value, with many 0.84 above it
    return float(optimize.brentq(lacks, 0.0, 2.0 * critical + 1.0))


def paired_ratio(
    numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95
) -> Interval | None:
    """The ratio of two means with Fieller's interval [1].

    The interval holds every ratio `r` for which Student's t test of `numerators - r * denominators`
    finds no difference from 0. It is bounded where the same test tells the denominators from 0, and
    for a denominator without any spread it is Student's t interval of the ratios.

    Args:
        numerators: In every repetition, at least two.
        denominators: In the same repetitions, in the same order, with a mean other than 0.
        confidence: Coverage in (0, 1).

    Returns:
        The ratio of the means and its interval; None where the denominators cannot be told from
        0, so that any ratio would fit.

    Raises:
        ValueError: for different numbers of values, fewer than two, or denominators of mean 0.

    Reference:
        [1] Fieller 1954, Some problems in interval estimation, JRSS B 16(2), pages 175 to 185

    Example:
        >>> [round(one, 3) for one in paired_ratio([1.0, 1.2, 1.1], [2.0, 2.0, 2.0])]
        [0.55, 0.426, 0.674]
    """
    import numpy as np
    from scipy import stats

    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} and {len(denominators)} values are not pairs")
    num = len(numerators)
    if num < 2:
        raise ValueError(f"an interval over repetitions needs at least 2 pairs, got {num}")
    above, below = float(np.mean(numerators)), float(np.mean(denominators))
    if below == 0:
        raise ValueError("denominators of mean 0 have no ratio")
    # in units of the denominator's mean, where squares neither overflow nor vanish
    ratio = above / below
    scaled = np.divide([numerators, denominators], below)
    # of the residuals of the ratio, whose mean is 0: nothing cancels
    residuals = scaled[0] - ratio * scaled[1]
    spread = (
        np.cov(residuals, scaled[1]) * float(stats.t.ppf(0.5 + confidence / 2, num - 1)) ** 2 / num
    )
    rest = 1 - float(spread[1, 1])
    if rest <= 0:
        return None
    # (r - ratio)^2 = spread of (residuals - (r - ratio) * denominators), solved for r - ratio
    middle = -float(spread[0, 1]) / rest
    half = (middle**2 + float(spread[0, 0]) / rest) ** 0.5
    return Interval(ratio, ratio + middle - half, ratio + middle + half)
