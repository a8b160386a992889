"""Overlaps of selections and the sampling error of scores, against brute force."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sentinel_research.reporting.criteria.scores import read_scores
from sentinel_research.reporting.criteria.stability import (
    Stability,
    measure_noise,
    measure_stability,
)
from sentinel_research.reporting.estimates import group_cells

SCORES = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]


def _stability(cells: list[Any], make_record: Any) -> Stability:
    (group,) = [g for g in group_cells(make_record(cells)) if g.scorer == "taylor"]
    return measure_stability(group)


def _taylor(make_cell: Any, labels_of: list[list[str]], **fields: Any) -> list[Any]:
    return [
        make_cell(
            21.0,
            "taylor",
            0.5,
            calibration_seed=seed,
            **{"scores": SCORES, "removed": {"head": labels}} | fields,
        )
        for seed, labels in enumerate(labels_of)
    ]


def _mean_overlap(pairs: Any) -> float:
    return float(np.mean([len(one & two) / len(one | two) for one, two in pairs]))


def test_overlap_is_the_mean_over_every_two_texts(make_cell: Any, make_record: Any) -> None:
    removed = [
        ["L0H0", "L0H1", "L1H3", "L1H2"],
        ["L0H0", "L0H1", "L1H3", "L1H0"],
        ["L0H2", "L0H3", "L1H3", "L1H0"],
    ]
    found = _stability(_taylor(make_cell, removed, halves=0.5), make_record)
    # by hand: 3 of 5, 1 of 7, 2 of 6
    assert found.overlap == pytest.approx((3 / 5 + 1 / 7 + 2 / 6) / 3)
    assert (found.halves, found.num_draws, found.reason) == (0.5, 3, "")


def test_expectation_within_layers_is_that_of_all_selections_of_as_many_units_a_layer(
    make_cell: Any, make_record: Any
) -> None:
    removed = [["L0H0", "L1H3", "L1H2"], ["L0H2", "L1H1", "L1H0"]]
    found = _stability(_taylor(make_cell, removed), make_record)
    every = [
        {("L0", one), *(("L1", unit) for unit in two)}
        for one in range(4)
        for two in itertools.combinations(range(4), 2)
    ]
    assert found.expected == pytest.approx(_mean_overlap(itertools.product(every, every)))


def test_expectation_of_global_scope_draws_from_all_layers_together(
    make_cell: Any, make_record: Any
) -> None:
    removed = [["L0H0", "L1H3", "L1H2"], ["L0H2", "L1H1", "L1H0"]]
    found = _stability(_taylor(make_cell, removed, scope="global"), make_record)
    every = [set(units) for units in itertools.combinations(range(8), 3)]
    assert found.expected == pytest.approx(_mean_overlap(itertools.product(every, every)))


def test_random_masks_overlap_about_as_much_as_expected(make_cell: Any, make_record: Any) -> None:
    rng = np.random.default_rng(0)
    labels = [
        [f"L{layer}H{head}" for layer in range(2) for head in rng.permutation(4)[:2]]
        for _ in range(60)
    ]
    cells = [
        make_cell(21.0, "random", 0.5, seed, scores=SCORES, removed={"head": one})
        for seed, one in enumerate(labels)
    ]
    (group,) = [g for g in group_cells(make_record(cells)) if g.scorer == "random"]
    found = measure_stability(group)
    assert found.expected is not None
    # 1,770 pairs, standard deviation of one overlap about 0.2
    assert found.overlap == pytest.approx(found.expected, abs=0.02)


@pytest.mark.parametrize(
    ("removed", "fields", "reason"),
    [
        ([["L0H0"]], {}, "one selection"),
        ([[], []], {}, "nothing was removed"),
        ([["L0H0"], ["L0H1"]], {"removed": None}, "does not list the removed units"),
        ([["L0H0"], ["L0H1"]], {"scores": None}, "no expectation"),
        ([["L0H0"], ["L0H1"]], {"scores": {"kv_group": SCORES}}, "no expectation"),
        (
            [["L0H0"], ["L0H1"]],
            {
                "scores": {"kv_group": SCORES, "neuron": SCORES},
                "removed": {"head": ["L0H0"], "neuron": ["L0N1"]},
            },
            "no expectation",
        ),
    ],
    ids=[
        "one draw",
        "nothing removed",
        "not recorded",
        "no scores",
        "others scored",
        "some scored",
    ],
)
def test_absent_overlap_has_a_reason(
    make_cell: Any, make_record: Any, removed: Any, fields: Any, reason: str
) -> None:
    found = _stability(_taylor(make_cell, removed, **fields), make_record)
    assert found.expected is None
    assert reason in found.reason


@pytest.mark.parametrize("num_draws", [1, 2])
def test_overlap_of_single_weights_is_said_to_be_unrecorded(
    make_cell: Any, make_record: Any, num_draws: int
) -> None:
    cells = _taylor(make_cell, [[]] * num_draws, removed={})
    for cell in cells:
        cell.prune["num_removed"] = {"weight": 7}
    found = _stability(cells, make_record)
    assert found.overlap is None
    assert found.reason == "overlaps of single weights are not recorded"


def test_noise_is_the_median_error_over_the_spread_of_the_scores(
    make_cell: Any, make_record: Any
) -> None:
    errors = [[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]], [[0.2] * 4, [0.9] * 4]]
    other = [[2.0, 1.0, 3.0, 5.0], [4.0, 3.0, 1.0, 2.0]]
    cells = [
        *_taylor(make_cell, [["L0H0"]], errors=errors[0]),
        make_cell(21.0, "taylor", 0.5, calibration_seed=1, scores=other, errors=errors[1]),
    ]
    found = measure_noise("taylor", read_scores(group_cells(make_record(cells)))["taylor"])
    each = [
        np.median(error) / np.std(score, ddof=1)
        for error, score in zip(errors, (SCORES, other), strict=True)
    ]
    assert found.noise_to_signal == pytest.approx(np.mean(each))
    expected = stats.spearmanr(np.ravel(SCORES), np.ravel(other)).statistic
    assert found.self_correlation == pytest.approx(expected)
    assert found.reason == ""


def test_scores_without_errors_or_spread_have_a_reason_and_no_noise(
    make_cell: Any, make_record: Any
) -> None:
    def noise(cells: list[Any]) -> Any:
        return measure_noise("taylor", read_scores(group_cells(make_record(cells)))["taylor"])

    found = noise(_taylor(make_cell, [["L0H0"]]))
    assert (found.noise_to_signal, found.self_correlation) == (None, None)
    assert found.reason == "no standard errors of the scores in the record; one draw"
    flat = [[1.0] * 4] * 2
    found = noise(_taylor(make_cell, [["L0H0"]] * 2, scores=flat, errors=flat))
    assert found.reason == "all scores are the same; the scores have no order"
