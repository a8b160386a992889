"""Every criterion against the random masks of its fraction, and the verdicts that follow."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sentinel_research.reporting.criteria import Part, compare_on_task
from sentinel_research.reporting.criteria.against_random import (
    AgainstRandom,
    RandomComparison,
    compare_with_random,
)
from sentinel_research.reporting.criteria.tables import explain_random, random_table
from sentinel_research.reporting.curves import task_curves
from sentinel_research.reporting.estimates import group_cells, list_metrics

TASK = "toy_task"


def _compare(cells: list[Any], make_record: Any) -> RandomComparison:
    record = make_record(cells)
    metric = list_metrics(record, TASK)[0]
    return compare_with_random(task_curves(record, group_cells(record), TASK, metric))


def _part(cells: list[Any], make_record: Any) -> Part:
    record = make_record(cells)
    metric = list_metrics(record, TASK)[0]
    part = compare_on_task(task_curves(record, group_cells(record), TASK, metric))
    assert part is not None
    return part


def _row(found: RandomComparison, scorer: str, fraction: float) -> AgainstRandom:
    (row,) = [one for one in found.rows if (one.scorer, one.fraction) == (scorer, fraction)]
    return row


def _masks(make_cell: Any, num: int, fraction: float = 0.5) -> list[Any]:
    values = np.exp(3 + 0.1 * np.random.default_rng(7).normal(size=num))
    return [make_cell(float(value), "random", fraction, seed) for seed, value in enumerate(values)]


def _values(masks: list[Any]) -> list[float]:
    return [cell.evaluation.measurements[0].value for cell in masks]


def test_masks_are_counted_and_both_tests_are_corrected_over_all_comparisons(
    make_cell: Any, make_record: Any
) -> None:
    masks = _masks(make_cell, 20)
    values = sorted(_values(masks))
    third = (values[2] + values[3]) / 2
    cells = [
        *masks,
        make_cell(float(values[0] / 1.5), "good", 0.5),
        make_cell(float(third), "middling", 0.5),
        make_cell(float(values[-1] * 1.5), "bad", 0.5),
    ]
    found = _compare(cells, make_record)
    good, middling, bad = (_row(found, name, 0.5) for name in ("good", "middling", "bad"))
    assert [row.position.num_beaten for row in (good, middling, bad)] == [20, 17, 0]
    assert middling.position.p_better == 4 / 21
    assert good.exact_p_adjusted == pytest.approx(3 * 2 / 21)
    logs = np.log(values)
    expected = [stats.ttest_ind([np.log(row.value)], logs).pvalue for row in (good, middling, bad)]
    for row, p in zip((good, middling, bad), expected, strict=True):
        assert row.prediction is not None
        assert row.prediction.p_value == pytest.approx(p)
    # Holm by hand: the two small ones times 3 and 2, the largest times 1
    smallest, second, largest = sorted(expected)
    adjusted = sorted(row.t_p_adjusted or 0.0 for row in (good, middling, bad))
    first = 3 * smallest
    assert adjusted == pytest.approx([first, max(first, 2 * second), largest])
    verdicts = [row.t_verdict for row in (good, middling, bad)]
    assert verdicts == ["better", "no difference found", "worse"]
    assert found.normality_p[0.5] == pytest.approx(stats.shapiro(logs).pvalue)
    assert found.is_log


def test_twenty_masks_cannot_tell_by_the_exact_test_and_the_report_says_so(
    make_cell: Any, make_record: Any
) -> None:
    found = _compare([*_masks(make_cell, 20), make_cell(1.0, "good", 0.5)], make_record)
    assert found.rows[0].exact_verdict == "too few masks to tell"
    assert found.masks_needed == 40
    assert any("takes 40 masks" in sentence for sentence in explain_random(found))
    # with as many as it takes, the exact test reaches a verdict, and with one less it does not
    for num, verdict in ((40, "better"), (39, "too few masks to tell")):
        enough = _compare([*_masks(make_cell, num), make_cell(1.0, "good", 0.5)], make_record)
        assert enough.rows[0].exact_verdict == verdict


@pytest.mark.parametrize(("num", "verdict"), [(80, "better"), (79, "too few masks to tell")])
def test_more_comparisons_take_more_masks(
    num: int, verdict: str, make_cell: Any, make_record: Any
) -> None:
    measured = [make_cell(1.0, "good", 0.5), make_cell(1.1, "good too", 0.5)]
    found = _compare([*_masks(make_cell, num), *measured], make_record)
    assert found.masks_needed == 80
    assert [row.exact_verdict for row in found.rows] == [verdict, verdict]


def test_calibrated_criterion_is_tested_by_its_mean_at_its_own_fraction(
    make_cell: Any, make_record: Any
) -> None:
    masks = [*_masks(make_cell, 5, 0.25), *(_masks(make_cell, 7, 0.5))]
    cells = [
        make_cell(value, "taylor", 0.25, calibration_seed=seed)
        for seed, value in enumerate((10.0, 12.0))
    ]
    found = _compare([*masks, *cells], make_record)
    (row,) = found.rows
    assert (row.value, row.position.num_reference) == (11.0, 5)
    assert found.num_masks == {0.25: 5, 0.5: 7}


def test_masks_that_are_all_the_same_give_no_t_test(make_cell: Any, make_record: Any) -> None:
    masks = [make_cell(20.0, "random", 0.5, seed) for seed in range(4)]
    found = _compare([*masks, make_cell(19.0, "good", 0.5)], make_record)
    (row,) = found.rows
    assert (row.prediction, row.t_p_adjusted, row.t_verdict) == (None, None, None)
    assert [cell.text for cell in random_table(found, "metric").rows[0]][-1] == "no spread"


def test_without_masks_there_is_a_reason_and_no_verdict(make_cell: Any, make_record: Any) -> None:
    good = make_cell(19.0, "good", 0.5)
    assert "no random masks" in _compare([good], make_record).reason
    one_mask = make_cell(20.0, "random", 0.5)
    assert "two random masks" in _compare([good, one_mask], make_record).reason
    elsewhere = _compare([*_masks(make_cell, 3, 0.25), good], make_record)
    assert "no other criterion was measured" in elsewhere.reason
    assert elsewhere.rows == ()


def test_direction_that_the_task_does_not_say_is_not_guessed(
    make_cell: Any, make_record: Any
) -> None:
    cells = [*_masks(make_cell, 3), make_cell(19.0, "good", 0.5)]
    for cell in cells:
        cell.evaluation.measurements[0].higher_is_better = None
    assert "does not say which direction" in _compare(cells, make_record).reason


def test_higher_is_better_turns_the_verdict_round(make_cell: Any, make_record: Any) -> None:
    masks = [make_cell({"acc": 0.5 + 0.01 * seed}, "random", 0.5, seed) for seed in range(6)]
    cells = [*masks, make_cell({"acc": 0.9}, "good", 0.5)]
    for cell in cells:
        cell.evaluation.measurements[0].higher_is_better = True
    found = _compare(cells, make_record)
    assert found.rows[0].t_verdict == "better"
    assert found.rows[0].position.num_beaten == 6
    assert not found.is_log


def test_variant_is_compared_with_the_random_masks_of_its_own(
    make_cell: Any, make_record: Any
) -> None:
    cells = []
    for variant, offset in (("easy", 1.0), ("hard", 10.0)):
        found = [*_masks(make_cell, 5), make_cell(40.0, "good", 0.5)]
        for cell in found:
            cell.id = f"{variant}-{cell.id}"
            cell.prune_spec["variant"] = variant
            if cell.prune_spec["scorer"] == "random":
                one = cell.evaluation.measurements[0]
                cell.evaluation.measurements[0] = one.model_copy(
                    update={"value": one.value * offset}
                )
        cells += found
    alone = make_cell(1.0, "good", 0.5)
    alone.id, alone.prune_spec["variant"] = "alone", "alone"
    compared = _compare([*cells, alone], make_record)
    assert list(compared.not_compared) == ["alone: good"]
    beaten = {row.scorer: row.position.num_beaten for row in compared.rows}
    assert beaten == {"easy: good": 0, "hard: good": 5}


def test_variant_without_masks_of_its_own_is_named_with_the_reason(
    make_cell: Any, make_record: Any
) -> None:
    cells = [*_masks(make_cell, 5), make_cell(19.0, "good", 0.5)]
    for cell in cells:
        cell.prune_spec["variant"] = "native"
    moved = make_cell(19.0, "good", 0.5)
    moved.id, moved.prune_spec["variant"] = "moved", "moved"
    part = _part([*cells, moved], make_record)
    assert part.absent.startswith("moved: good: not compared, as its variant has no random masks")
    fewer = make_cell(19.0, "good", 0.25)
    fewer.prune_spec["variant"] = "native"
    absent = _part([*cells, fewer], make_record).absent
    assert absent.startswith("native: good at 0.25: not compared, as fewer than two random masks")
    assert _part(cells, make_record).absent == ""
