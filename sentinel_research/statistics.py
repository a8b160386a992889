"""Intervals for measured numbers. Everything here is scipy; nothing draws randomness on its own."""

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
    from scipy import stats

    if stderr < 0:
        raise ValueError(f"a standard error is not negative, got {stderr}")
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * stderr
    return Interval(value, value - half, value + half)


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
