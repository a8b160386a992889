"""Rank correlations between criteria are those of scipy, draw by draw."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sentinel_research.reporting.criteria.agreement import (
    Agreement,
    compare_with_itself,
    compare_with_leave_one_out,
    correlate_all,
)
from sentinel_research.reporting.criteria.heatmaps import draw_correlations, rank_grid
from sentinel_research.reporting.criteria.scores import read_scores
from sentinel_research.reporting.estimates import group_cells

LAYERS, HEADS = 3, 4


def _scores(seed: int) -> list[list[float]]:
    return np.random.default_rng(seed).normal(size=(LAYERS, HEADS)).tolist()


def _rho(one: list[list[float]], two: list[list[float]]) -> float:
    return float(stats.spearmanr(np.ravel(one), np.ravel(two)).statistic)


def _compare(cells: list[Any], make_record: Any) -> dict[str, Agreement]:
    rows = compare_with_leave_one_out(read_scores(group_cells(make_record(cells))))
    return {row.scorer: row for row in rows}


@pytest.fixture
def cells(make_cell: Any) -> list[Any]:
    """Two calibrated criteria on three texts, one without text, five random masks."""
    found = [make_cell(20.0)]
    for fraction in (0.25, 0.5):
        for seed in range(3):
            found.append(
                make_cell(
                    21.0, "leave_one_out", fraction, calibration_seed=seed, scores=_scores(seed)
                )
            )
            found.append(
                make_cell(
                    21.0, "taylor", fraction, calibration_seed=seed, scores=_scores(10 + seed)
                )
            )
        found.append(make_cell(21.0, "magnitude", fraction, scores=_scores(20)))
        found += [
            make_cell(21.0, "random", fraction, seed, scores=_scores(30 + seed))
            for seed in range(5)
        ]
    return found


def test_criterion_is_compared_with_the_leave_one_out_of_its_own_variant(
    make_cell: Any, make_record: Any
) -> None:
    """A variant without leave-one-out has no row, as its units may be others."""
    found = [make_cell(20.0)]
    for variant, oracle, offset in (("easy", True, 0), ("hard", True, 7), ("alone", False, 3)):
        for scorer, seed in (("leave_one_out", offset), ("taylor", 20 + offset)):
            if scorer == "leave_one_out" and not oracle:
                continue
            cell = make_cell(21.0, scorer, 0.5, scores=_scores(seed))
            cell.id = f"{variant}-{cell.id}"
            cell.prune_spec["variant"] = variant
            found.append(cell)
    rows = _compare(found, make_record)
    assert list(rows) == ["easy: taylor", "hard: taylor"]
    for variant, offset in (("easy", 0), ("hard", 7)):
        expected = _rho(_scores(20 + offset), _scores(offset))
        assert rows[f"{variant}: taylor"].spearman.value == pytest.approx(expected)


def test_calibrated_criteria_are_compared_on_the_same_text(cells: Any, make_record: Any) -> None:
    row = _compare(cells, make_record)["taylor"]
    each = [_rho(_scores(10 + seed), _scores(seed)) for seed in range(3)]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(each), scale=stats.sem(each))
    assert row.spearman is not None
    assert row.spearman.interval == pytest.approx((np.mean(each), low, high))
    assert (row.spearman.num_draws, row.num_units, row.reason) == (3, LAYERS * HEADS, "")


def test_order_of_the_cells_does_not_change_which_texts_are_compared(
    cells: Any, make_record: Any
) -> None:
    assert _compare(cells[::-1], make_record)["taylor"] == _compare(cells, make_record)["taylor"]


def test_kendall_and_within_layers_are_scipys(cells: Any, make_record: Any) -> None:
    row = _compare(cells, make_record)["taylor"]
    pairs = [(_scores(10 + seed), _scores(seed)) for seed in range(3)]
    tau = [stats.kendalltau(np.ravel(one), np.ravel(two)).statistic for one, two in pairs]
    within = [
        np.mean([stats.spearmanr(a, b).statistic for a, b in zip(one, two, strict=True)])
        for one, two in pairs
    ]
    assert row.kendall is not None
    assert row.within_layers is not None
    assert row.kendall.value == pytest.approx(np.mean(tau))
    assert row.within_layers.value == pytest.approx(np.mean(within))


def test_criterion_without_text_is_compared_with_every_text(cells: Any, make_record: Any) -> None:
    row = _compare(cells, make_record)["magnitude"]
    each = [_rho(_scores(20), _scores(seed)) for seed in range(3)]
    assert row.spearman is not None
    assert row.spearman.value == pytest.approx(np.mean(each))
    assert row.spearman.num_draws == 3


def test_every_random_mask_is_one_draw_whatever_the_number_of_texts(
    cells: Any, make_record: Any
) -> None:
    row = _compare(cells, make_record)["random"]
    each = [
        np.mean([_rho(_scores(30 + mask), _scores(seed)) for seed in range(3)]) for mask in range(5)
    ]
    assert row.spearman is not None
    assert row.spearman.num_draws == 5
    low, high = stats.t.interval(0.95, 4, loc=np.mean(each), scale=stats.sem(each))
    assert row.spearman.interval == pytest.approx((np.mean(each), low, high))


def test_constant_scores_have_a_reason_and_no_coefficient(
    cells: Any, make_cell: Any, make_record: Any
) -> None:
    flat = make_cell(21.0, "flat", 0.5, scores=[[1.0] * HEADS] * LAYERS)
    row = _compare([*cells, flat], make_record)["flat"]
    assert (row.spearman, row.kendall, row.within_layers) == (None, None, None)
    assert "the same for all units" in row.reason


def test_layers_that_a_criterion_does_not_order_are_left_out_of_the_mean_within(
    make_cell: Any, make_record: Any
) -> None:
    # the first layer agrees, the second is reversed, the third has no order
    one = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]
    two = [[1.0, 2.0, 4.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]
    found = [
        make_cell(21.0, "magnitude", 0.5, scores=one),
        make_cell(21.0, "leave_one_out", 0.5, scores=two),
    ]
    row = _compare(found, make_record)["magnitude"]
    assert row.within_layers is not None
    assert row.within_layers.value == pytest.approx(0.0)
    assert row.within_layers.interval is None


def test_criteria_of_different_units_are_not_compared(
    cells: Any, make_cell: Any, make_record: Any
) -> None:
    other = make_cell(21.0, "groups", 0.5, scores={"kv_group": [[1.0, 2.0]] * LAYERS})
    row = _compare([*cells, other], make_record)["groups"]
    assert row.spearman is None
    assert row.reason == "groups and leave_one_out scored different units"


def test_correlations_are_symmetric_with_self_agreement_on_the_diagonal(
    cells: Any, make_record: Any
) -> None:
    scores = read_scores(group_cells(make_record(cells)))
    found = correlate_all(scores)
    matrix = np.array(found.spearman, dtype=float)
    np.testing.assert_array_equal(matrix, matrix.T)
    place = {scorer: index for index, scorer in enumerate(found.scorers)}
    pairs = [(10, 11), (10, 12), (11, 12)]
    expected = np.mean([_rho(_scores(one), _scores(two)) for one, two in pairs])
    taylor = place["taylor"]
    assert matrix[taylor, taylor] == pytest.approx(expected)
    assert found.spearman[place["magnitude"]][place["magnitude"]] is None
    assert compare_with_itself(scores["magnitude"]) is None
    row = _compare(cells, make_record)["taylor"]
    assert row.spearman is not None
    assert matrix[taylor, place["leave_one_out"]] == pytest.approx(row.spearman.value)


def test_heat_map_shows_every_coefficient_and_a_dash_for_none(cells: Any, make_record: Any) -> None:
    found = correlate_all(read_scores(group_cells(make_record(cells))))
    drawing = draw_correlations(found, synthetic_data=True)
    numbers = [f"{value:.2f}" for row in found.spearman for value in row if value is not None]
    for shown in numbers:
        assert f">{shown}</text>" in drawing.svg
    assert drawing.svg.count(">-</text>") == 1
    assert "synthetic data" in drawing.svg
    assert "data:image" not in drawing.svg


def test_rank_grid_is_the_mean_rank_with_gaps_where_a_layer_has_fewer_units(
    make_cell: Any, make_record: Any
) -> None:
    draws = [[[0.1, 0.9], [], [0.5]], [[0.2, 0.1], [], [0.7]]]
    found = [
        make_cell(21.0, "taylor", 0.5, calibration_seed=seed, scores=draw)
        for seed, draw in enumerate(draws)
    ]
    grid = rank_grid(read_scores(group_cells(make_record(found)))["taylor"])
    assert grid is not None
    # ranks 0, 1, 0.5 and 0.5, 0, 1 over all three units
    expected = [[0.25, 0.5], [np.nan, np.nan], [0.75, np.nan]]
    np.testing.assert_allclose(grid, expected)


def test_texts_that_only_one_criterion_read_are_left_out(make_cell: Any, make_record: Any) -> None:
    def draws(scorer: str, seeds: tuple[int, ...], offset: int) -> list[Any]:
        return [
            make_cell(21.0, scorer, 0.5, calibration_seed=seed, scores=_scores(offset + seed))
            for seed in seeds
        ]

    cells = [*draws("taylor", (0, 1, 2), 10), *draws("leave_one_out", (1, 2, 3), 0)]
    row = _compare(cells, make_record)["taylor"]
    each = [_rho(_scores(10 + seed), _scores(seed)) for seed in (1, 2)]
    assert row.spearman is not None
    assert row.spearman.value == pytest.approx(np.mean(each))
    assert row.spearman.num_draws == 2
    apart = [*draws("taylor", (0, 1), 10), *draws("leave_one_out", (2, 3), 0)]
    row = _compare(apart, make_record)["taylor"]
    assert row.spearman is None
    assert row.reason == "taylor and leave_one_out share no calibration seed"


def test_draws_are_in_the_order_of_their_seeds_where_a_fraction_lacks_one(
    make_cell: Any, make_record: Any
) -> None:
    cells = [
        make_cell(21.0, "taylor", 0.25, calibration_seed=0),
        make_cell(21.0, "taylor", 0.25, calibration_seed=1, scores=_scores(1)),
        make_cell(21.0, "taylor", 0.5, calibration_seed=0, scores=_scores(0)),
        make_cell(21.0, "taylor", 0.5, calibration_seed=1, scores=_scores(1)),
    ]
    found = read_scores(group_cells(make_record(cells)))["taylor"]
    assert [scores.draw.seed for scores in found] == [0, 1]
