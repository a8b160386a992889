"""Intervals and p values against values by hand, and against scipy's on the same differences."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sentinel_research.judgement import inference
from sentinel_research.judgement.aggregates import AGGREGATES, Joint
from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.metrics import correlation


def means(first: np.ndarray, second: np.ndarray) -> Joint:
    """Of both sides, an item a unit."""
    sides = [np.stack([side, np.ones(len(side))], axis=1) for side in (first, second)]
    return AGGREGATES["mean"].join(sides[0], sides[1], np.arange(len(first)), len(first))


def test_permutation_of_few_units_tries_every_swap() -> None:
    # of the 8 signs of (1, 2, 4), +++ and --- are as far from 0 as +7
    joint = means(np.zeros(4), np.array([1.0, 2.0, 4.0, 0.0]))
    assert inference.permute(joint, 99, [0]).p_value == 2 / 8
    # and +1 +2 -4 = -1 is as far out as none but one side's 5 of 8
    joint = means(np.zeros(3), np.array([1.0, 2.0, -4.0]))
    assert inference.permute(joint, 99, [0]).p_value == 2 * 4 / 8


def test_permutation_is_of_the_difference_of_the_metric_itself() -> None:
    rng = np.random.default_rng(4)
    sides = rng.normal(size=(2, 6, 2))

    def difference(swapped: tuple[int, ...]) -> float:
        places, which = np.arange(6), np.array(swapped)
        first, second = sides[which, places], sides[1 - which, places]
        return correlation.pearson(*second.T) - correlation.pearson(*first.T)

    found = [difference(swapped) for swapped in itertools.product((0, 1), repeat=6)]
    # rounding must not tell the observed one from itself
    as_high = np.mean([one >= found[0] - 1e-12 for one in found])
    as_low = np.mean([one <= found[0] + 1e-12 for one in found])
    aggregate = AGGREGATES["pearson"]
    items = [np.array([aggregate.encode(pair.tolist()) for pair in side]) for side in sides]
    joint = aggregate.join(items[0], items[1], np.arange(6), 6)
    assert inference.permute(joint, 99, [0]).p_value == min(1.0, 2 * min(as_high, as_low))


@pytest.mark.parametrize("place", [0, 11])
def test_single_unit_that_differs_says_nothing(place: int) -> None:
    first = np.zeros(12)
    first[place] = 1.0
    # one of two swaps is as far to either side
    assert inference.permute(means(first, np.zeros(12)), 99, [0]).p_value == 1.0


def test_random_permutations_count_the_observed_one() -> None:
    joint = means(np.zeros(60), np.ones(60))
    # no random swap is as extreme: (1 + 0) / (1 + 99), on both sides
    assert inference.permute(joint, 99, [0]).p_value == 2 / 100


def test_coins_are_tossed_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MAX_PERMUTED", 0)
    joint = means(np.zeros(60), np.ones(60))
    assert inference.permute(joint, 99, [0]).p_value == 2 / 100


def test_coins_and_scipys_permutations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    joint = means(rng.normal(size=50), rng.normal(0.3, size=50))
    permuted = inference.permute(joint, 9999, [0]).p_value
    monkeypatch.setattr(inference, "MAX_PERMUTED", 50)
    assert inference.permute(joint, 9999, [0]).p_value == permuted
    monkeypatch.setattr(inference, "MAX_PERMUTED", 49)
    coins = inference.permute(joint, 9999, [0]).p_value
    assert coins != permuted
    # both are binomial: five standard errors of their difference
    assert coins == pytest.approx(permuted, abs=5 * (2 * 2 * permuted / 9999) ** 0.5)


def test_units_without_a_difference_do_not_change_the_p() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=12), rng.normal(size=12)
    alone = inference.permute(means(first, second), 9999, [0])
    same = np.linspace(-1, 1, 30)
    padded = means(np.append(same, first), np.append(same, second))
    assert inference.permute(padded, 9999, [0]).p_value == alone.p_value


def test_mcnemar_reads_discordant_documents_only() -> None:
    # 9 won and 1 lost of 10: 2 * (1 + 10) / 1024
    first = np.array([0.0] * 9 + [1.0] + [1.0] * 30)
    second = np.array([1.0] * 9 + [0.0] + [1.0] * 30)
    assert inference.mcnemar(first, second).p_value == pytest.approx(22 / 1024)


def test_interval_is_scipys_bca_of_the_differences() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.exponential(size=40), rng.exponential(1.5, size=40)
    found = inference.resample(means(first, second), 40, 999, [5])
    expected = stats.bootstrap(
        (second - first,), np.mean, n_resamples=999, rng=np.random.default_rng([5])
    )
    assert found.difference == pytest.approx((second - first).mean())
    # the same draws: the difference of two means is the mean of differences but for rounding
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval))
    assert found.stderr == pytest.approx(expected.standard_error)
    assert found.interval == "BCa bootstrap"


def test_many_units_have_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MAX_BCA", 10)
    rng = np.random.default_rng(1)
    found = inference.resample(means(rng.normal(size=11), rng.normal(size=11)), 11, 999, [5])
    assert found.interval == "percentile bootstrap"


def test_ratio_of_sums_is_resampled_jointly() -> None:
    rng = np.random.default_rng(2)
    units = rng.integers(5, 50, size=60).astype(float)
    first = -units * rng.normal(2.0, 0.3, size=60)
    sides = [np.stack([side, units], axis=1) for side in (first, first - units * 0.1)]
    joint = AGGREGATES["weighted_perplexity"].join(sides[0], sides[1], np.arange(60), 60)
    found = inference.resample(joint, 60, 999, [0])
    # 0.1 nats more on every unit: the ratio is exp(0.1) on each resample, its spread the first's
    value = float(joint.first(np.ones((1, 60)))[0])
    assert found.difference == pytest.approx(value * (np.exp(0.1) - 1))
    of_first = inference.resample(
        AGGREGATES["weighted_perplexity"].join(
            np.stack([np.zeros(60), units], axis=1), sides[0], np.arange(60), 60
        ),
        60,
        999,
        [0],
    )
    assert found.stderr == pytest.approx(of_first.stderr * (np.exp(0.1) - 1))


def test_same_difference_everywhere_has_no_interval_but_a_p() -> None:
    joint = means(np.arange(20.0), np.arange(20.0) + 0.1)
    found = inference.resample(joint, 20, 99, [0])
    assert found.interval == "no spread"
    assert found.low == found.high == found.difference == pytest.approx(0.1)
    assert inference.detectable(found.stderr, 20, 0.05) is None
    assert inference.permute(joint, 99, [0]).p_value == 2 / 100


def test_metric_that_is_not_defined_on_resamples_is_refused() -> None:
    # all but one document have the same right number
    right = np.array([1.0] + [0.0] * 19)
    given = np.linspace(0, 1, 20)
    items = [np.stack([right, side], axis=1) for side in (given, given[::-1])]
    joint = AGGREGATES["spearman"].join(items[0], items[1], np.arange(20), 20)
    with pytest.raises(NotComparableError, match=r"not defined on \d+ of 99 resamples"):
        inference.resample(joint, 20, 99, [0])


def test_detectable_difference_is_larger_for_more_tests() -> None:
    alone, of_ten = (inference.detectable(1.0, 1000, level) for level in (0.05, 0.005))
    assert alone is not None
    assert of_ten is not None
    # z(0.975) + z(0.8), and z(0.9975) + z(0.8), a little more for t of 999 degrees
    assert alone == pytest.approx(1.960 + 0.842, rel=2e-3)
    assert of_ten == pytest.approx(2.807 + 0.842, rel=3e-3)
