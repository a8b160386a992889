"""One estimate per scorer, fraction and metric, and words for everything that is absent."""

from typing import Any

import pytest

from sentinel_research.reporting.estimates import (
    Metric,
    estimate,
    explain_missing,
    group_cells,
    list_metrics,
    list_tasks,
    split_arm,
)

TASK = "toy_task"
PERPLEXITY = Metric("token_perplexity", "none")


def test_random_masks_have_their_median_and_their_whole_range(
    make_cell: Any, make_record: Any
) -> None:
    values = [12.0, 10.0, 19.0, 13.0]
    seeds = [make_cell(value, "random", 0.5, seed) for seed, value in enumerate(values)]
    (group,) = [g for g in group_cells(make_record(seeds)) if g.scorer == "random"]
    found = estimate(group, TASK, PERPLEXITY)
    assert found is not None
    assert found.interval == (12.5, 10.0, 19.0)
    assert (found.value, found.stderr, found.over) == (12.5, None, "masks")
    assert found.values == (12.0, 10.0, 19.0, 13.0)


def test_calibration_seeds_are_averaged_with_students_t_interval(
    make_cell: Any, make_record: Any
) -> None:
    values = [10.0, 12.0, 17.0]
    seeds = [
        make_cell(value, "taylor", 0.5, calibration_seed=seed) for seed, value in enumerate(values)
    ]
    (group,) = [g for g in group_cells(make_record(seeds)) if g.scorer == "taylor"]
    found = estimate(group, TASK, PERPLEXITY)
    assert found is not None
    # by hand: mean 13, squared deviations 9 + 1 + 16 over 2 is 13, so the error is sqrt(13 / 3)
    assert found.value == 13.0
    assert found.stderr == pytest.approx(2.0816660)
    # the 97.5% point of Student's t with 2 degrees of freedom is 4.3026527
    assert found.interval is not None
    assert found.interval.low == pytest.approx(13 - 4.3026527 * 2.0816660)
    assert (found.over, found.num_cells) == ("calibration", 3)


def test_one_cell_has_the_normal_interval_of_its_own_stderr(
    make_cell: Any, make_record: Any
) -> None:
    group = group_cells(make_record([make_cell(20.0, stderr=0.5)]))[0]
    found = estimate(group, TASK, PERPLEXITY)
    assert found is not None
    assert found.interval is not None
    assert found.interval.high == pytest.approx(20 + 1.959964 * 0.5)
    assert found.over == "documents"


def test_measurement_without_stderr_has_no_interval(make_cell: Any, make_record: Any) -> None:
    group = group_cells(make_record([make_cell(20.0, stderr=None)]))[0]
    found = estimate(group, TASK, PERPLEXITY)
    assert found is not None
    assert (found.interval, found.over) == (None, "nothing")


def test_failed_seed_is_left_out_of_the_mean_and_named(make_cell: Any, make_record: Any) -> None:
    seeds = [
        make_cell(10.0, "random", 0.5, 0),
        make_cell(12.0, "random", 0.5, 1),
        make_cell(None, "random", 0.5, 2, error="out of memory"),
    ]
    (group,) = [g for g in group_cells(make_record(seeds)) if g.scorer == "random"]
    found = estimate(group, TASK, PERPLEXITY)
    assert found is not None
    assert (found.value, found.num_cells) == (11.0, 2)
    missing = explain_missing(group, TASK, PERPLEXITY)
    assert missing == "random at 0.5, seed 2: failed (out of memory)"


def test_failed_calibration_is_named_by_its_seed(make_cell: Any, make_record: Any) -> None:
    cells = [
        make_cell(10.0, "taylor", 0.5, calibration_seed=0),
        make_cell(None, "taylor", 0.5, calibration_seed=7, error="out of memory"),
    ]
    (group,) = [g for g in group_cells(make_record(cells)) if g.scorer == "taylor"]
    missing = explain_missing(group, TASK, PERPLEXITY)
    assert missing == "taylor at 0.5, calibration seed 7: failed (out of memory)"


def test_cells_of_a_group_are_in_the_order_of_their_seeds(make_cell: Any, make_record: Any) -> None:
    cells = [make_cell(float(seed + 1), "random", 0.5, seed) for seed in (10, 2, 0)]
    (group,) = [g for g in group_cells(make_record(cells)) if g.scorer == "random"]
    found = estimate(group, TASK, PERPLEXITY)
    assert found is not None
    assert found.values == (1.0, 3.0, 11.0)


def test_cell_that_the_recipe_asks_for_and_the_run_never_began_is_an_empty_group(
    make_cell: Any, make_record: Any
) -> None:
    groups = group_cells(make_record([make_cell(20.0)]))
    assert [group.name for group in groups] == [
        "dense model",
        "magnitude at 0.25",
        "magnitude at 0.5",
    ]
    assert explain_missing(groups[1], TASK, PERPLEXITY) == "magnitude at 0.25: not run"


def test_token_perplexity_is_plotted_before_word_perplexity_before_anything_else(
    make_cell: Any, make_record: Any
) -> None:
    record = make_record([make_cell({"acc": 0.5, "word_perplexity": 9.0, "token_perplexity": 8.0})])
    names = [metric.name for metric in list_metrics(record, TASK)]
    assert names == ["token_perplexity", "word_perplexity", "acc"]


def test_entropy_floor_is_not_a_metric(make_cell: Any, make_record: Any) -> None:
    record = make_record([make_cell({"floor_perplexity": 5.0, "word_perplexity": 9.0})])
    assert [metric.name for metric in list_metrics(record, TASK)] == ["word_perplexity"]


def test_tasks_come_from_the_recipe_only_while_nothing_was_evaluated(
    make_cell: Any, make_record: Any
) -> None:
    recipe = {"evaluate": {"tasks": ["group"]}}
    assert list_tasks(make_record([], recipe=recipe)) == ["group"]
    assert list_tasks(make_record([make_cell(20.0)], recipe=recipe)) == [TASK]


def test_variants_are_arms_of_their_own(make_cell: Any, make_record: Any) -> None:
    cells = []
    for variant in ("structured", "unstructured"):
        for scorer in ("random", "wanda"):
            cell = make_cell(20.0, scorer, 0.5)
            cell.id = f"{variant}-{cell.id}"
            cell.prune_spec["variant"] = variant
            cells.append(cell)
    record = make_record(cells)
    variants = {"structured": {}, "unstructured": {"scorers": None}, "late": {"scorers": ["x"]}}
    record.recipe["prune"] = {
        "scorers": ["random", "wanda"],
        "fractions": [0.5],
        "variants": variants,
    }
    arms = {group.scorer: len(group.cells) for group in group_cells(record) if not group.is_dense}
    assert arms == {
        "structured: random": 1,
        "structured: wanda": 1,
        "unstructured: random": 1,
        "unstructured: wanda": 1,
        "late: x": 0,
    }


def test_arm_is_split_into_variant_and_scorer() -> None:
    assert split_arm("structured: wanda") == ("structured", "wanda")
    assert split_arm("wanda") == ("", "wanda")
