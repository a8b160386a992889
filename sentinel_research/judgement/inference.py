"""How sure a difference of two models on the same documents is.

The interval is a bootstrap [1] of units that are drawn for both models together: BCa [2], which
corrects the percentiles for bias and skew, up to `MAX_BCA` units. Above, plain percentiles: the
correction shrinks with the root of the units, and its jackknife costs their square.

The p is of McNemar's exact test [3] where every document is right or wrong by itself, else of a
permutation test that swaps the two models' results unit by unit: exact below 14 units that differ,
otherwise (1 + extreme swaps) / (1 + swaps) [4], doubled for the nearer side.

References:
    [1] Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    [2] Efron, Better Bootstrap Confidence Intervals (1987). https://doi.org/10.2307/2289144
    [3] McNemar (1947). https://doi.org/10.1007/BF02295996
    [4] Phipson, Smyth, Permutation P-values Should Never Be Zero (2010), equation 2.
        https://doi.org/10.2202/1544-6115.1585
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sentinel_research.judgement.aggregates import Joint
from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.judgement.schema import Test
from sentinel_research.paired import detectable_shift

MAX_BCA = 2000
"""Units up to which the interval is BCa."""
MAX_PERMUTED = 1000
"""Units that differ up to which swaps are scipy's own draws; above, coins are ten times as fast."""
_ELEMENTS = 4_000_000
"""Numbers of a batch of resamples: 32 MB."""
_ROUNDING = 1e-12
"""Relative spread of differences that are the same but for rounding, as in `paired`."""


class Resampled(NamedTuple):
    """A difference with its interval."""

    difference: float
    low: float
    high: float
    stderr: float
    """Of the bootstrap; 0 without spread."""
    interval: Any
    """How the interval was found."""


class Significance(NamedTuple):
    """A two-sided p."""

    p_value: float
    test: Test


def resample(joint: Joint, num_units: int, num_resamples: int, seed: Any) -> Resampled:
    """The difference second less first, with its 95% interval.

    Args:
        joint: The metric of both models.
        num_units: Units that are drawn with replacement.
        num_resamples: How often.
        seed: Of `numpy.random.default_rng`.

    Raises:
        NotComparableError: if the metric is not defined, or beyond a double, on a resample.
    """
    from scipy import stats

    def difference(drawn: Int[np.ndarray, "*resamples units"], **_: int) -> Any:
        weights = _counts(drawn.reshape(-1, drawn.shape[-1]), num_units)
        return (joint.second(weights) - joint.first(weights)).reshape(drawn.shape[:-1])

    def bootstrap(method: Any, count: int, before: Any) -> Any:
        with warnings.catch_warnings():
            # the callers look for what it warns of: numbers that are not finite
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            return stats.bootstrap(
                (np.arange(num_units),),
                difference,
                n_resamples=count,
                batch=max(1, _ELEMENTS // num_units),
                vectorized=True,
                method=method,
                bootstrap_result=before,
                rng=np.random.default_rng(seed),
            )

    ones = np.ones((1, num_units))
    sizes = np.abs([joint.first(ones)[0], joint.second(ones)[0]])
    value = float((joint.second(ones) - joint.first(ones))[0])
    found = bootstrap("percentile", num_resamples, None)
    undefined = int((~np.isfinite(found.bootstrap_distribution)).sum())
    if undefined:
        raise _undefined(undefined, num_resamples, "resamples")
    if np.ptp(found.bootstrap_distribution) <= _ROUNDING * sizes.max():
        return Resampled(value, value, value, 0.0, "no spread")
    method, (low, high) = "percentile", found.confidence_interval
    if num_units <= MAX_BCA:
        corrected = bootstrap("BCa", 0, found).confidence_interval
        # it has none where the difference is beyond all resamples
        if np.isfinite(corrected).all():
            method, (low, high) = "BCa", corrected
    return Resampled(
        value, float(low), float(high), float(found.standard_error), f"{method} bootstrap"
    )


def permute(joint: Joint, num_resamples: int, seed: Any) -> Significance:
    """Test whether it matters which of both models a unit's result is from.

    Args:
        joint: The metric of both models.
        num_resamples: Random swaps where not all can be tried.
        seed: Of `numpy.random.default_rng`.

    Raises:
        NotComparableError: if the metric is not defined on a permutation.
    """
    from scipy import stats

    # what is the same for both can be swapped without any effect
    differs = joint.differs.copy()
    if differs.sum() == 1:
        # scipy takes two units or more: one that is the same for both leaves the p as it is
        differs[np.argmin(differs)] = True
    (places,) = np.nonzero(differs)
    num_units, num_places = len(joint.differs), len(places)

    def difference(swapped: Any) -> Any:
        flat = swapped.reshape(-1, num_places)
        of_units = np.zeros((len(flat), num_units))
        of_units[:, places] = flat
        found = joint.mixed(1.0 - of_units) - joint.mixed(of_units)
        return found.reshape(swapped.shape[:-1])

    generator = np.random.default_rng(seed)
    options: Any = {
        "n_resamples": num_resamples,
        "batch": max(1, _ELEMENTS // num_units),
        "vectorized": True,
    }
    if num_places <= MAX_PERMUTED:
        # a number below `num_places` stands for the reference's result on a unit
        sides = np.arange(2 * num_places).reshape(2, num_places)
        found = stats.permutation_test(
            tuple(sides),
            lambda first, _, **__: difference((first >= num_places).astype(np.float64)),
            permutation_type="samples",
            rng=generator,
            **options,
        )
    else:
        found = stats.monte_carlo_test(
            np.zeros(num_places),
            lambda size: generator.integers(0, 2, size=size, dtype=np.int8).astype(np.float64),
            lambda swapped, **_: difference(swapped),
            **options,
        )
    undefined = int((~np.isfinite(found.null_distribution)).sum())
    if undefined:
        raise _undefined(undefined, len(found.null_distribution), "permutations")
    return Significance(float(found.pvalue), "permutation")


def mcnemar(
    first: Float[np.ndarray, " items"], second: Float[np.ndarray, " items"]
) -> Significance:
    """Exact test of documents that one model has right and the other wrong.

    Args:
        first: 1 where the reference is right, else 0.
        second: Of the other, on the same documents; it differs on one at least.

    Example:
        >>> mcnemar(np.array([1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0])).p_value
        0.5
    """
    from scipy import stats

    won, lost = int((second > first).sum()), int((second < first).sum())
    return Significance(float(stats.binomtest(won, won + lost).pvalue), "exact McNemar")


def detectable(stderr: float, num_units: int, level: float) -> float | None:
    """The smallest true difference that is found four times in five.

    Args:
        stderr: Of the difference; 0 without spread.
        num_units: Behind it.
        level: Of the test that has to reject, after its share of the correction.

    Returns:
        In the unit of the standard error; None without spread.
    """
    return detectable_shift(num_units, level) * stderr if stderr > 0 else None


def _undefined(count: int, of: int, what: str) -> NotComparableError:
    return NotComparableError(
        "undefined",
        f"the metric is not defined on {count} of {of} {what}: its documents are too few or too "
        "alike",
    )


def _counts(
    drawn: Int[np.ndarray, "resamples draws"], num_units: int
) -> Float[np.ndarray, "resamples units"]:
    """How often each unit was drawn."""
    places = drawn + num_units * np.arange(len(drawn))[:, None]
    counts = np.bincount(places.ravel(), minlength=num_units * len(drawn))
    return counts.reshape(len(drawn), num_units).astype(np.float64)
