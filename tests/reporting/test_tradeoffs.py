"""Quality beside cost in the report of a run, and what the report says where a number is absent."""

from collections.abc import Callable
from typing import Any

import pytest

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.estimates import group_cells
from sentinel_research.reporting.text_steps import draw_text_quality, training_texts
from sentinel_research.reporting.tradeoffs import weigh

Make = Callable[..., CellRecord]
Parts = dict[str, Part]


def _weigh(record: RunRecord) -> Parts:
    return {part.key: part for part in weigh(record, group_cells(record))}


def _lacks(parts: Parts) -> dict[str, str]:
    return {lack.figure: lack.ask for lack in parts["not-drawn"].numbers}


def _timed(cell: CellRecord, milliseconds: float) -> CellRecord:
    """The same with the times of writing, as a cell with `evaluate.generation` has them."""
    seconds = milliseconds / 1000
    timing = {
        "median": seconds,
        "lower_quartile": 0.9 * seconds,
        "upper_quartile": 1.2 * seconds,
        "cpu_median": seconds,
    }
    assert cell.evaluation is not None
    speed = {"first_token_seconds": timing, "decode_seconds_per_token": timing}
    cell.evaluation.generation = {"speed": speed}
    return cell


@pytest.fixture
def cells(make_cell: Make) -> list[CellRecord]:
    """Dense, one criterion and three random masks, counted and timed."""
    found = [_timed(make_cell(20.0), 4.0), _timed(make_cell(24.0, "one", 0.5), 2.0)]
    found += [
        _timed(make_cell(value, "random", 0.5, seed), 3.0)
        for seed, value in enumerate((30.0, 32.0, 40.0))
    ]
    for cell in found[1:]:
        assert cell.prune is not None
        cell.prune |= {"flops_per_token_before": 1000.0, "flops_per_token_after": 700.0}
    return found


@pytest.fixture
def parts(cells: list[CellRecord], make_record: Any) -> Parts:
    """What the report weighs of them."""
    recipe = {"prune": {"scorers": ["one", "random"], "fractions": [0.5]}}
    return _weigh(make_record(cells, recipe=recipe, synthetic_data=True))


def test_quality_stands_against_operations_and_against_measured_time(parts: Parts) -> None:
    by_name = {place.name: place for place in parts["flops-toy_task"].numbers}
    assert by_name["dense model"].cost.value == 1.0
    assert by_name["one at 0.5"].cost.value == pytest.approx(0.7)
    by_name = {place.name: place for place in parts["latency-toy_task"].numbers}
    assert by_name["one at 0.5"].cost == pytest.approx((2.0, 1.8, 2.4))
    assert by_name["random at 0.5"].quality == (32.0, 30.0, 40.0)


def test_improvement_is_against_the_median_of_the_masks_with_their_range(parts: Parts) -> None:
    ((share, spread),) = parts["improvement-toy_task"].numbers["one"]
    assert share == 0.5
    assert spread == pytest.approx((25.0, 20.0, 40.0))


def test_radar_has_quality_speed_operations_and_parameters_as_shares(parts: Parts) -> None:
    shares = {one.axis: one.share for one in parts["radar"].numbers if one.arm == "one"}
    assert shares == pytest.approx(
        {
            "token perplexity\ntoy_task": 20 / 24,
            "tokens per second": 2.0,
            "first token, ms": 2.0,
            "operations": 1 / 0.7,
            "parameters": 12000 / 8000,
        }
    )


def test_levels_have_speed_and_parameters_from_the_dense_model_on(parts: Parts) -> None:
    speed, first = parts["levels-speed"].numbers
    assert speed.start.value == pytest.approx(250.0)
    assert {line.arm: line.points[0][1].value for line in first.lines} == pytest.approx(
        {"one": 2.0, "random": 3.0}
    )
    assert [line.arm for line in parts["levels-parameters"].numbers] == ["one", "random"]


def test_every_figure_is_marked_where_data_are_synthetic(parts: Parts) -> None:
    figures = [part.figure for part in parts.values() if part.figure is not None]
    assert len(figures) == 6
    assert all("synthetic data" in figure.svg for figure in figures)


def test_figure_without_its_numbers_is_refused_with_what_to_ask_for(
    make_cell: Make, make_record: Any
) -> None:
    parts = _weigh(make_record([make_cell(20.0), make_cell(22.0, "magnitude", 0.5)]))
    assert list(parts) == ["not-drawn"]
    lacks = _lacks(parts)
    assert "--set evaluate.generation.corpus=NAME" in lacks["quality against measured time"]
    assert "evaluate.long_context" in lacks["perplexity by position"]
    assert "add random to `prune.scorers`" in lacks["improvement over random masks"]
    assert lacks["memory and loading"].startswith("sentinel profile MODEL")
    assert {"quality against operations", "radar", "speed over levels"} <= {*lacks}


def test_run_that_prunes_nothing_weighs_nothing(make_cell: Make, make_record: Any) -> None:
    assert _weigh(make_record([make_cell(20.0)], recipe={"prune": None})) == {}


def test_tasks_are_compared_by_their_ratio_to_the_dense_model(
    make_cell: Make, make_record: Any
) -> None:
    cells = [make_cell(20.0), make_cell(30.0, "one", 0.5)]
    for cell, other in zip(
        cells, (make_cell(4.0, task="b"), make_cell(5.0, task="b")), strict=True
    ):
        assert cell.evaluation is not None
        assert other.evaluation is not None
        cell.evaluation.measurements += other.evaluation.measurements
        cell.evaluation.task_hashes |= other.evaluation.task_hashes
    recipe = {"prune": {"scorers": ["one"], "fractions": [0.5]}}
    rows = _weigh(make_record(cells, recipe=recipe))["by-task"].numbers
    assert {row.label: row.spread.value for row in rows} == {
        "toy_task: token perplexity": 1.5,
        "b: token perplexity": 1.25,
    }


def test_variety_of_text_is_drawn_by_step_with_its_error_over_prompts() -> None:
    texts = {0: ("a a a a a", "b b b b b"), 10: ("a b c d e", "f g a b h")}
    samples = [
        {"step": step, "prompt": "p", "text": text} for step, own in texts.items() for text in own
    ]
    figure = draw_text_quality({"full": samples}, "text", False)
    assert figure is not None
    assert figure.data is not None
    values = {(row[0].text, row[2].text): row[3].text for row in figure.data.rows}
    assert values["distinct-2", "0"] == "0.2500"
    assert values["seq-rep-4", "0"] == "0.5000"
    assert values["distinct-2", "10"] == "0.8750"
    assert draw_text_quality({"full": [{"step": 0, "text": "one"}]}, "text", False) is None


def test_texts_of_a_training_are_listed_and_text_of_others_is_not_invented() -> None:
    (part,) = training_texts({"samples": [{"step": 3, "prompt": "p", "text": "word"}]}, False)
    assert part.table is not None
    assert [cell.text for cell in part.table.rows[0]] == ["3", "p", "word"]
    assert part.figure is None
    assert training_texts({}, False) == ()
