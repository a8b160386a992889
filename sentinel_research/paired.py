"""Two things measured under the same repetitions (such as seeds): do they differ?"""

from collections.abc import Sequence
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
    from scipy import optimize, stats

    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values are not pairs")
    differences = np.subtract(first, second, dtype=np.float64)
    interval = mean_interval(differences.tolist())
    num = len(differences)
    stderr = float(differences.std(ddof=1)) / num**0.5
    # equal but for the rounding of the subtraction
    if stderr <= 1e-12 * max(1e-300, float(np.abs([*first, *second]).max())):
        return None
    critical = float(stats.t.ppf(1 - _LEVEL / 2, num - 1))
    # noncentral t as a normal over an independent chi: finite where scipy's own is not
    middles = (np.arange(_NUM_STRATA) + 0.5) / _NUM_STRATA
    spreads = np.sqrt(stats.chi2.ppf(middles, num - 1) / (num - 1))

    def lacks(shift: float) -> float:
        beyond = stats.norm.cdf([shift, -shift] - critical * spreads[:, None])
        return float(beyond.sum(axis=1).mean()) - _POWER

    # with one degree of freedom it is 1.3 times the critical value, with many 0.84 above it
    shift = float(optimize.brentq(lacks, 0.0, 2.0 * critical + 1.0))
    p_value = 2 * float(stats.t.sf(abs(interval.value) / stderr, num - 1))
    return PairedTest(interval, p_value, shift * stderr, num)
