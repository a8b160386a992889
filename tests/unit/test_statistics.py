"""Intervals, tests and overlaps against their definitions."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sentinel_research.paired import paired_ratio, paired_test
from sentinel_research.statistics import (
    SelectionSizes,
    expected_overlap,
    holm,
    mean_interval,
    normal_interval,
    normality_p,
    position_among,
    prediction_test,
    rank_correlation,
)


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


def _spearman_by_hand(first: list[float], second: list[float]) -> float:
    """Pearson correlation of mean ranks."""

    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < one for other in values) + (sum(other == one for other in values) + 1) / 2
            for one in values
        ]

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def _tau_b_by_hand(first: list[float], second: list[float]) -> float:
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [(np.sign(first[i] - first[j]), np.sign(second[i] - second[j])) for i, j in pairs]
    untied = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    return float(sum(one * two for one, two in signs) / (untied[0] * untied[1]) ** 0.5)


@pytest.mark.parametrize("num_levels", [3, 50], ids=["with ties", "few ties"])
def test_rank_correlations_agree_with_their_definitions(num_levels: int) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, num_levels, (2, 17)).astype(float).tolist()
    found = rank_correlation(first, second)
    assert found.spearman == pytest.approx(_spearman_by_hand(first, second))
    assert found.kendall == pytest.approx(_tau_b_by_hand(first, second))
    assert found.reason == ""


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "the same for all units"),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], "the same for all units"),
        ([1.0], [2.0], "no order"),
        ([], [], "no order"),
    ],
    ids=["first constant", "second constant", "one unit", "none"],
)
def test_scores_without_an_order_have_a_reason_and_no_coefficient(
    first: list[float], second: list[float], reason: str
) -> None:
    found = rank_correlation(first, second)
    assert (found.spearman, found.kendall) == (None, None)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [([1.0, 2.0], [1.0], "cannot be compared"), ([1.0, float("nan")], [1.0, 2.0], "finite")],
    ids=["lengths", "nan"],
)
def test_scores_that_cannot_be_ranked_are_refused(
    first: list[float], second: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rank_correlation(first, second)


def test_position_counts_masks_and_gives_the_exact_p() -> None:
    # lower is better: 4 and the tie 5 are at least as good, 5 and the three after it at most
    found = position_among(5.0, [4.0, 5.0, 6.0, 7.0, 8.0], higher_is_better=False)
    assert found == (3, 5, 3 / 6, 5 / 6)
    assert position_among(-5.0, [-4.0, -5.0, -6.0, -7.0, -8.0], higher_is_better=True) == found


def test_best_of_twenty_masks_has_p_one_in_twenty_one() -> None:
    found = position_among(1.0, [float(mask) for mask in range(2, 22)], higher_is_better=False)
    assert (found.num_beaten, found.p_better) == (20, 1 / 21)
    assert found.p_two_sided == 2 / 21


def test_randomisation_p_is_below_a_level_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2000, 10))
    ps = [position_among(one[0], list(one[1:]), False).p_better for one in draws]
    for place in range(1, 11):
        # exact: a tenth of the draws at each place, standard deviation at most 0.0112
        assert np.mean([p <= place / 10 + 1e-9 for p in ps]) == pytest.approx(place / 10, abs=0.04)


def test_value_in_the_middle_has_a_two_sided_p_of_one() -> None:
    position = position_among(2.0, [1.0, 2.0, 3.0], True)
    assert position.p_better == position.p_worse == 0.75
    assert position.p_two_sided == 1.0


def test_position_among_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        position_among(1.0, [], higher_is_better=True)


def test_prediction_test_is_the_two_sample_t_test_with_one_value_in_one_sample() -> None:
    reference = [2.0, 3.5, 1.0, 4.0, 2.5]
    expected = stats.ttest_ind([9.0], reference)
    found = prediction_test(9.0, reference)
    assert found is not None
    assert found == pytest.approx((expected.statistic, expected.pvalue))


def test_prediction_from_equal_draws_is_absent_and_from_one_is_refused() -> None:
    assert prediction_test(1.0, [2.0, 2.0, 2.0]) is None
    with pytest.raises(ValueError, match="at least 2"):
        prediction_test(1.0, [2.0])


@pytest.mark.parametrize(
    "ps", [[0.012, 0.03, 0.2, 0.011, 0.04], [0.9, 0.4, 0.7]], ids=["small", "large"]
)
def test_holm_equals_the_closed_test_of_all_intersections(ps: list[float]) -> None:
    subsets = [
        chosen
        for size in range(1, len(ps) + 1)
        for chosen in itertools.combinations(range(len(ps)), size)
    ]
    # a hypothesis falls if every intersection with it falls to Bonferroni
    closed = [
        max(
            min(1.0, len(chosen) * min(ps[one] for one in chosen))
            for chosen in subsets
            if index in chosen
        )
        for index in range(len(ps))
    ]
    assert holm(ps) == pytest.approx(closed)
    assert holm([]) == []


def test_normality_is_scipys_shapiro_and_absent_without_spread() -> None:
    values = [1.0, 2.0, 2.5, 7.0]
    assert normality_p(values) == pytest.approx(stats.shapiro(values).pvalue)
    assert normality_p(values[:3]) == pytest.approx(stats.shapiro(values[:3]).pvalue)
    assert normality_p([1.0, 2.0]) is None
    assert normality_p([1.0, 1.0, 1.0]) is None


@pytest.mark.parametrize(
    "sizes",
    [[(5, 2, 2)], [(4, 1, 3), (3, 1, 1)], [(4, 2, 0), (3, 2, 1)], [(3, 3, 3)]],
    ids=["one stratum", "two strata", "one side empty", "all"],
)
def test_expected_overlap_is_the_mean_over_all_pairs_of_selections(
    sizes: list[tuple[int, int, int]],
) -> None:
    def selections(side: int) -> list[set[tuple[int, int]]]:
        choices = [
            [{(place, unit) for unit in units} for units in itertools.combinations(range(n[0]), k)]
            for place, n in enumerate(sizes)
            for k in [n[side]]
        ]
        return [set().union(*parts) for parts in itertools.product(*choices)]

    every = [
        len(one & two) / len(one | two)
        for one, two in itertools.product(selections(1), selections(2))
    ]
    strata = [SelectionSizes(*one) for one in sizes]
    assert expected_overlap(strata) == pytest.approx(np.mean(every))


def test_two_empty_selections_have_no_expected_overlap() -> None:
    assert expected_overlap([SelectionSizes(5, 0, 0)]) is None


def test_paired_test_is_scipys_and_its_detectable_difference_has_four_fifths_power() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(1.0, 1.0, 5), rng.normal(0.0, 1.0, 5)
    found = paired_test(first.tolist(), second.tolist())
    assert found is not None
    expected = stats.ttest_rel(first, second)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval()
    assert found.difference[1:] == pytest.approx((interval.low, interval.high), rel=1e-9)
    sd = float((first - second).std(ddof=1))
    draws = rng.normal(found.detectable, sd, size=(20_000, 5))
    is_found = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    # three standard errors of a share of 20,000
    assert is_found.mean() == pytest.approx(0.8, abs=0.009)


def test_pairs_without_spread_are_not_tested_and_single_pairs_refused() -> None:
    assert paired_test([1.0, 2.0, 3.0], [0.5, 1.5, 2.5]) is None
    with pytest.raises(ValueError, match="at least 2"):
        paired_test([1.0], [2.0])
    with pytest.raises(ValueError, match="2 and 1 values are not pairs"):
        paired_test([1.0, 2.0], [2.0])


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_pairs_that_differ_by_rounding_alone_have_no_spread(size: float) -> None:
    second = (size * np.random.default_rng(0).random(20)).tolist()
    # in the last bits these differences are not the same
    first = [value + 0.3 * size for value in second]
    assert len(set(np.subtract(first, second).tolist())) > 1
    assert paired_test(first, second) is None
    # a millionth of the values is no rounding
    first[0] *= 1 + 1e-6
    assert paired_test(first, second) is not None


def test_ratio_without_spread_below_has_students_interval() -> None:
    interval = paired_ratio([1.0, 1.2, 1.1], [2.0, 2.0, 2.0])
    assert interval == pytest.approx(mean_interval([0.5, 0.6, 0.55]))


def test_ratio_of_what_cannot_be_told_from_nothing_is_refused() -> None:
    assert paired_ratio([0.5, 0.5, 0.6], [-0.5, 0.5, 1.5]) is None
    with pytest.raises(ValueError, match="mean 0"):
        paired_ratio([1.0, 2.0], [-1.0, 1.0])
    with pytest.raises(ValueError, match="not pairs"):
        paired_ratio([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least 2"):
        paired_ratio([1.0], [1.0])


def test_ratios_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        shared = rng.normal(0.0, 0.3, 4)
        interval = paired_ratio(
            list(1.4 + shared + rng.normal(0.0, 0.2, 4)),
            list(2.0 + shared + rng.normal(0.0, 0.3, 4)),
        )
        # a denominator of five standard errors is told from 0 nearly always
        covered += interval is not None and interval.low <= 0.7 <= interval.high
    # 950 expected, standard deviation 6.9
    assert 925 <= covered <= 975
