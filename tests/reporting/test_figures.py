"""What is drawn is what was measured, and nothing else."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from sentinel_research.record import RunRecord
from sentinel_research.reporting.curves import (
    TaskCurves,
    choose_frame,
    explain_intervals,
    task_curves,
)
from sentinel_research.reporting.estimates import group_cells, list_metrics
from sentinel_research.reporting.figures import draw_curves, is_crowded
from sentinel_research.reporting.losses import draw_losses

TASK = "toy_task"
USE = "{http://www.w3.org/2000/svg}use"
LINK = "{http://www.w3.org/1999/xlink}href"


def _curves(record: RunRecord) -> TaskCurves:
    return task_curves(record, group_cells(record), TASK, list_metrics(record, TASK)[0])


def _by_id(svg: str, name: str) -> ET.Element | None:
    wanted = f"figure_{TASK}-{name}"
    return next((node for node in ET.fromstring(svg).iter() if node.get("id") == wanted), None)


def _num_markers(svg: str, name: str) -> int:
    node = _by_id(svg, name)
    assert node is not None
    return sum(1 for _ in node.iter(USE))


def test_svg_has_a_marker_for_each_fraction(cells: Any, make_record: Any) -> None:
    svg = draw_curves(_curves(make_record(cells)), False).svg
    assert _num_markers(svg, "curve-0") == 2
    assert _num_markers(svg, "dense") == 1


def test_cell_without_result_has_no_marker(cells: Any, make_cell: Any, make_record: Any) -> None:
    broken = [*cells[:2], make_cell(None, "magnitude", 0.5, error="killed")]
    svg = draw_curves(_curves(make_record(broken)), False).svg
    assert _num_markers(svg, "curve-0") == 1


def test_line_is_broken_at_a_missing_fraction(cells: Any, make_cell: Any, make_record: Any) -> None:
    def path(record: RunRecord) -> str:
        node = _by_id(draw_curves(_curves(record), False).svg, "curve-0")
        assert node is not None
        return node[0].get("d", "")

    gap = make_cell(None, "magnitude", 0.25, error="killed")
    assert path(make_record(cells)).count("M") == 1
    # what is left of the line is its start, and its end after a new move
    assert path(make_record([cells[0], gap, cells[2]])).count("L") == 0


def test_figure_without_any_measurement_is_refused(make_cell: Any, make_record: Any) -> None:
    measured = _curves(make_record([make_cell(20.0)]))
    with pytest.raises(ValueError, match="nothing was measured on toy_task"):
        draw_curves(measured._replace(dense=None), False)


def test_entropy_floor_is_a_labelled_line(make_cell: Any, make_record: Any) -> None:
    record = make_record([make_cell({"token_perplexity": 20.0, "floor_perplexity": 15.5})])
    svg = draw_curves(_curves(record), False).svg
    assert _by_id(svg, "floor") is not None
    assert "entropy floor 15.50" in svg


def test_floor_per_word_is_not_drawn_over_another_unit(make_cell: Any, make_record: Any) -> None:
    values = {"token_perplexity": 3.0, "word_perplexity": 20.0, "floor_perplexity": 15.5}
    assert _curves(make_record([make_cell(values)])).floor is None
    values["token_perplexity"] = 20.0
    assert _curves(make_record([make_cell(values)])).floor == 15.5


def test_synthetic_data_is_marked_in_the_figure(cells: Any, make_record: Any) -> None:
    curves = _curves(make_record(cells))
    assert ">synthetic data<" in draw_curves(curves, True).svg
    assert "synthetic data" not in draw_curves(curves, False).svg
    assert ">synthetic data<" in draw_losses([{"step": 1, "loss": 2.0}], True).svg


def test_axis_is_logarithmic_when_perplexities_differ_more_than_tenfold(
    make_cell: Any, make_record: Any
) -> None:
    def frame(value: float) -> bool:
        pruned = make_cell(value, "magnitude", 0.25)
        return choose_frame(_curves(make_record([make_cell(10.0), pruned]))).is_log

    assert not frame(100.0)
    assert frame(101.0)


def test_huge_interval_is_cut_and_the_caption_says_so(make_cell: Any, make_record: Any) -> None:
    seeds = [make_cell(20.0 + 30 * seed, "taylor", 0.5, calibration_seed=seed) for seed in range(2)]
    curves = _curves(make_record([make_cell(19.0), *seeds]))
    frame = choose_frame(curves)
    assert frame.cuts_intervals
    # t with one degree of freedom reaches below zero, where no perplexity is
    assert frame.bottom > 0
    assert any("cut by the frame" in sentence for sentence in explain_intervals(curves))


def test_whole_range_of_the_masks_is_framed_and_drawn_as_a_band(
    make_cell: Any, make_record: Any
) -> None:
    values = [20.0, 20.5, 21.0, 22.0, 90.0]
    seeds = [make_cell(value, "random", 0.5, seed) for seed, value in enumerate(values)]
    curves = _curves(make_record([make_cell(19.0), *seeds]))
    frame = choose_frame(curves)
    assert frame.bottom < 19.0 < 90.0 < frame.top
    svg = draw_curves(curves, False).svg
    assert _by_id(svg, "band-1") is not None
    assert "median 21.00 of 20.00 to 90.00 at 0.5" in draw_curves(curves, False).description


def test_band_is_not_drawn_for_calibration_seeds(make_cell: Any, make_record: Any) -> None:
    seeds = [make_cell(20.0 + seed, "taylor", 0.5, calibration_seed=seed) for seed in range(3)]
    svg = draw_curves(_curves(make_record([make_cell(19.0), *seeds])), False).svg
    assert "band-" not in svg


def test_legend_of_many_curves_is_in_the_order_in_which_they_end(
    make_cell: Any, make_record: Any
) -> None:
    ends = {"a": 30.0, "b": 21.0, "c": 35.0, "d": 22.0, "e": 25.0, "f": 24.0, "g": 40.0}
    cells = [make_cell(value, name, 0.5) for name, value in ends.items()]
    recipe = {"prune": {"scorers": list(ends), "fractions": [0.5]}}
    curves = _curves(make_record([make_cell(19.0), *cells], recipe=recipe))
    assert is_crowded(curves)
    svg = draw_curves(curves, False).svg
    legend = svg[svg.index('id="figure_toy_task-legend_1"') :]
    places = {name: legend.index(f">{name}</text>") for name in [*ends, "dense"]}
    assert sorted(places, key=places.__getitem__) == ["g", "c", "a", "e", "f", "d", "b", "dense"]


def test_dollar_sign_in_a_name_does_not_start_mathematics(make_cell: Any, make_record: Any) -> None:
    record = make_record([make_cell(20.0), make_cell(22.0, "$x^2$", 0.25)])
    assert ">$x^2$<" in draw_curves(_curves(record), False).svg


def test_markup_in_a_name_is_escaped_in_the_figure(make_cell: Any, make_record: Any) -> None:
    record = make_record([make_cell(20.0), make_cell(22.0, "<script>a&b", 0.25)])
    drawing = draw_curves(_curves(record), False)
    for svg in (drawing.svg, drawing.inline):
        assert "<script" not in svg
        assert "&lt;script&gt;a&amp;b" in svg


def test_control_character_in_a_name_still_gives_well_formed_svg(
    make_cell: Any, make_record: Any
) -> None:
    record = make_record([make_cell(20.0), make_cell(22.0, "a\x1bb", 0.25)])
    ET.fromstring(draw_curves(_curves(record), False).svg)


def test_every_reference_in_the_svg_resolves_and_ids_carry_the_figure_name(
    cells: Any, make_record: Any
) -> None:
    root = ET.fromstring(draw_curves(_curves(make_record(cells)), False).svg)
    ids = [node.get("id", "") for node in root.iter() if node.get("id")]
    links = [node.get(LINK, "").removeprefix("#") for node in root.iter() if node.get(LINK)]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("figure_toy_task-") for name in ids)
    assert links
    assert set(links) <= set(ids)


def test_figure_is_described_for_those_who_do_not_see_it(cells: Any, make_record: Any) -> None:
    root = ET.fromstring(draw_curves(_curves(make_record(cells)), False).inline)
    title, description = root[0].text, root[1].text
    assert title == "Token perplexity against fraction pruned on toy_task"
    assert description == "dense model: 20.00; magnitude: 22.00 at 0.25, 30.00 at 0.5"
    assert root.get("role") == "img"
