"""The comparison of criteria reaches every form of the report, with reasons for what is absent."""

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from sentinel_research.record import RunRecord
from sentinel_research.reporting import report
from sentinel_research.reporting.criteria.heatmaps import ink_on
from sentinel_research.reporting.criteria.panels import draw_panels
from sentinel_research.reporting.curves import task_curves
from sentinel_research.reporting.estimates import group_cells, list_metrics
from sentinel_research.reporting.page import build_page

Write = Callable[[RunRecord], Path]
TASK = "toy_task"
PARTS = (
    "Agreement with leave-one-out",
    "Rank correlation between criteria",
    "Importance of units",
    "Stability of selections",
    "Sampling error of scores",
)


@pytest.fixture
def study(make_cell: Any, make_record: Any) -> RunRecord:
    """Three criteria with scores and selections; eight masks."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(2, 4))
    cells = [make_cell(20.0)]

    def add(value: float, scorer: str, noise: float, **fields: Any) -> None:
        scores = truth + noise * rng.normal(size=(2, 4))
        labels = [f"L{layer}H{head}" for layer in (0, 1) for head in np.argsort(scores[layer])[:2]]
        cells.append(
            make_cell(
                value,
                scorer,
                0.5,
                scores=scores.tolist(),
                removed={"head": sorted(labels)},
                **fields,
            )
        )

    for seed in range(8):
        add(30.0 + seed, "random", 10.0, seed=seed)
    add(25.0, "magnitude", 0.5)
    for scorer in ("taylor", "leave_one_out"):
        for seed in range(3):
            errors = [[0.1] * 4] * 2
            add(22.0 + seed / 10, scorer, 0.1, calibration_seed=seed, errors=errors, halves=0.75)
    scorers = ["random", "magnitude", "taylor", "leave_one_out"]
    return make_record(cells, recipe={"prune": {"scorers": scorers, "fractions": [0.5]}})


def _json(folder: Path) -> Any:
    return json.loads(report(folder).json.read_text(encoding="utf-8"))


def test_every_part_is_in_the_html_and_the_markdown(study: RunRecord, write: Write) -> None:
    files = report(write(study))
    html = files.html.read_text(encoding="utf-8")
    markdown = files.markdown.read_text(encoding="utf-8")
    for title in (*PARTS, "Against random masks"):
        assert f"<h3>{title}</h3>" in html
        assert f"### {title}\n" in markdown
    for name in ("criteria_correlations.svg", "criteria_importance.svg"):
        assert (files.html.parent / name).exists()
        assert f"]({name})" in markdown
    assert "data:image" not in html
    assert "8 of 8" in html


def test_json_has_the_numbers_of_the_tables_at_full_precision(
    study: RunRecord, write: Write
) -> None:
    content = _json(write(study))
    rows = {row["scorer"]: row for row in content["tasks"][TASK]["estimates"]}
    assert rows["random"]["values"] == [30.0 + seed for seed in range(8)]
    assert rows["random"]["interval"] == {"value": 33.5, "low": 30.0, "high": 37.0}
    assert rows["taylor"]["value"] == pytest.approx(22.1)
    assert rows["dense"]["fraction"] == 0.0
    against = {row["scorer"]: row for row in content["tasks"][TASK]["against_random"]["rows"]}
    assert against["taylor"]["position"]["num_beaten"] == 8
    assert against["taylor"]["t_verdict"] == "better"
    agreement = content["criteria"]["agreement_with_leave_one_out"]["rows"]
    assert {row["scorer"] for row in agreement} == {"random", "magnitude", "taylor"}
    assert all(math.isfinite(row["spearman"]["value"]) for row in agreement)
    stability = {row["scorer"]: row for row in content["criteria"]["stability"]["rows"]}
    assert stability["taylor"]["halves"] == 0.75
    assert stability["magnitude"]["reason"] == "one selection"
    assert "spearman" in content["criteria"]["correlations"]
    assert set(content["criteria"]) == {
        "agreement_with_leave_one_out",
        "correlations",
        "stability",
        "score_noise",
    }


@pytest.mark.long
def test_study_is_byte_equal_twice_and_does_not_depend_on_the_order_of_cells(
    study: RunRecord, write: Write
) -> None:
    folder = write(study)
    report(folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    report(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    study.cells = study.cells[::-1]
    assert _json(write(study)) == json.loads(first["report.json"])


def test_parts_without_data_are_absent_with_a_reason(
    make_cell: Any, make_record: Any, write: Write
) -> None:
    cells = [make_cell(20.0), make_cell(22.0, "a", 0.5), make_cell(23.0, "b", 0.5)]
    recipe = {"prune": {"scorers": ["a", "b"], "fractions": [0.5]}}
    folder = write(make_record(cells, recipe=recipe))
    content = _json(folder)
    assert content["tasks"][TASK]["against_random"] == {
        "absent": "Not computed: the run has no random masks to compare with."
    }
    no_scores = {"absent": "Not computed: the record holds no scores of any criterion."}
    assert content["criteria"]["agreement_with_leave_one_out"] == no_scores
    assert content["criteria"]["importance"] == no_scores
    assert content["criteria"]["score_noise"] == no_scores
    assert "does not list the removed units" in content["criteria"]["stability"]["absent"]
    html = report(folder).html.read_text(encoding="utf-8")
    assert "no random masks to compare with" in html


def test_agreement_needs_leave_one_out(study: RunRecord, write: Write) -> None:
    study.cells = [cell for cell in study.cells if "leave_one_out" not in cell.id]
    absent = _json(write(study))["criteria"]["agreement_with_leave_one_out"]["absent"]
    assert absent == "Not computed: the record holds no scores of leave_one_out."


def test_run_of_one_criterion_has_no_comparison(cells: Any, make_record: Any, write: Write) -> None:
    folder = write(make_record(cells))
    assert _json(folder)["criteria"] == {}
    assert "Criteria" not in report(folder).html.read_text(encoding="utf-8")


def test_panels_show_every_mask_of_every_fraction(study: RunRecord) -> None:
    metric = list_metrics(study, TASK)[0]
    curves = task_curves(study, group_cells(study), TASK, metric)
    drawing = draw_panels(curves, synthetic_data=True)
    (masks,) = [
        node
        for node in ET.fromstring(drawing.svg).iter()
        if node.get("id") == "panels_toy_task-masks-0.5-3"
    ]
    assert sum(1 for _ in masks.iter("{http://www.w3.org/2000/svg}use")) == 8
    for scorer in ("random", "magnitude", "taylor", "leave_one_out"):
        assert f">{scorer}</text>" in drawing.svg
    assert ">synthetic data</text>" in drawing.svg
    places = [drawing.svg.index(f">{scorer}</text>") for scorer in ("taylor", "random")]
    assert places == sorted(places)


def test_crowded_task_has_panels_beside_its_curves(
    make_cell: Any, make_record: Any, write: Write
) -> None:
    names = [f"criterion{index}" for index in range(7)]
    cells = [make_cell(20.0 + index, name, 0.5) for index, name in enumerate(names)]
    recipe = {"prune": {"scorers": names, "fractions": [0.5]}}
    folder = write(make_record([make_cell(19.0), *cells], recipe=recipe))
    assert "](panels_toy_task.svg)" in report(folder).markdown.read_text(encoding="utf-8")
    few = write(make_record([make_cell(19.0), *cells[:6]], recipe={"prune": None}))
    assert "panels_toy_task" not in report(few).markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["RdBu", "viridis"])
def test_numbers_on_a_heat_map_contrast_with_every_colour_of_it(name: str) -> None:
    def luminance(colour: tuple[float, ...]) -> float:
        linear = [(part + 0.055) / 1.055 for part in colour[:3]]
        parts = [
            one / 12.92 if one <= 0.04045 else root**2.4
            for one, root in zip(colour[:3], linear, strict=True)
        ]
        return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    for level in range(101):
        colour = mpl.colormaps[name](level / 100)
        levels = sorted((luminance(colour), 1.0 if ink_on(colour) == "#ffffff" else 0.0))
        assert (levels[1] + 0.05) / (levels[0] + 0.05) > 4.5, level


def test_more_units_than_can_be_seen_are_not_drawn(make_cell: Any, make_record: Any) -> None:
    layers = [[float(layer + unit) for unit in range(64)] for layer in range(200)]
    cells = [make_cell(20.0)]
    cells += [make_cell(21.0, name, 0.5, scores=layers) for name in ("one", "two")]
    parts = {one.key: one for one in build_page(make_record(cells)).criteria}
    assert parts["importance"].figure is None
    assert parts["importance"].absent == "Not computed: 25,600 squares are too many to be seen."
