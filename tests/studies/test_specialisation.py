"""Every mask on every task, and a task's own mask against the others."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sentinel_research.record import RunRecord
from sentinel_research.reporting.export import render_json
from sentinel_research.reporting.page import build_page
from sentinel_research.reporting.render import render_html, render_markdown
from sentinel_research.specs import Recipe, StudySpec
from sentinel_research.studies import run_study
from sentinel_research.studies.schema import Specialisation
from tests.studies.runs import pruning, right, write_prunings

SPEC = StudySpec(kind="specialisation")


def _run(folder: Path) -> RunRecord:
    """Task a's mask keeps a, that of b keeps nothing more than others do."""

    def text(task: str) -> dict[str, Any]:
        return {"corpus": None, "task": task, "seed": 0}

    masks = {"a": {"a": right(0.9), "b": right(0.5)}, "b": {"a": right(0.5), "b": right(0.52)}}
    cells: dict[str, Any] = {"dense": (None, {"a": right(0.92), "b": right(0.9)})}
    for name, answers in masks.items():
        spec = pruning("taylor", 0.5, variant=f"m{name}", calibration=text(name))
        cells[f"m{name}-taylor-0.5"] = spec, answers
    spec = pruning("random", 0.5, variant="chance", calibration=None)
    cells["chance-random-0.5-seed0"] = spec, {"a": right(0.4), "b": right(0.4)}
    record = write_prunings(folder, cells)
    record.recipe["study"] = SPEC.model_dump(mode="json")
    record.study = run_study(SPEC, record, folder)
    return record


def test_own_mask_is_better_only_where_it_was_made_so(tmp_path: Path) -> None:
    found = Specialisation.model_validate(_run(tmp_path).study)
    rows = [(one.task, one.own, one.other, one.finding.verdict) for one in found.own_against_others]
    assert rows == [
        ("a", "ma: taylor", "mb: taylor", "better"),
        ("b", "mb: taylor", "ma: taylor", "no difference found"),
    ]
    dense = {(one.task, one.mask): one for one in found.against_dense}
    assert [one.finding.verdict for one in dense.values()] == [
        "no difference found",
        "worse",
        "worse",
        "worse",
    ]
    assert dense["a", "ma: taylor"].is_own
    assert not dense["b", "ma: taylor"].is_own


def test_each_family_is_corrected_as_a_whole(tmp_path: Path) -> None:
    found = Specialisation.model_validate(_run(tmp_path).study)
    for family, size in ((found.against_dense, 4), (found.own_against_others, 2)):
        evidence = [one.finding.evidence for one in family]  # type: ignore[attr-defined]
        smallest = min((one for one in evidence if one), key=lambda one: one.p_value)
        assert smallest.p_adjusted == pytest.approx(min(1.0, size * smallest.p_value))


def test_report_shows_the_matrix_without_the_samples(tmp_path: Path) -> None:
    record = _run(tmp_path)
    page = build_page(RunRecord.model_validate_json(record.model_dump_json()))
    matrix, own, overlap = page.study
    assert matrix.table is not None
    assert matrix.table.headers[3:] == ("ma: taylor at 0.5", "mb: taylor at 0.5")
    assert [cell.text.endswith("*") for cell in matrix.table.rows[0][3:]] == [True, False]
    assert [cell.kind for cell in matrix.table.rows[1][3:]] == ["bad", "bad"]
    assert [row[2].text for row in matrix.table.rows] == ["0.9200", "0.9000"]
    assert own.table is not None
    assert "fewer than two masks" in overlap.absent
    for text in (render_html(page), render_markdown(page), render_json(page)):
        assert "masks-on-tasks" in text or "Masks of tasks on all tasks" in text


def test_mask_that_changes_no_answer_shows_its_value_all_the_same(tmp_path: Path) -> None:
    text = {"corpus": None, "task": "a", "seed": 0}
    record = write_prunings(
        tmp_path,
        {
            "dense": (None, {"a": right(0.5)}),
            "taylor-0.5": (pruning("taylor", 0.5, calibration=text), {"a": right(0.5)}),
        },
    )
    record.recipe["study"] = SPEC.model_dump(mode="json")
    record.study = run_study(SPEC, record, tmp_path)
    table = build_page(record).study[0].table
    assert table is not None
    assert [cell.text for cell in table.rows[0][2:]] == ["0.5000", "0.5000 (identical) *"]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("specialisation", {}, "two or more of `evaluate.tasks`"),
        ("importance", {}, "on two or more texts"),
        ("transfer", {}, "a variant with `transfer_from` and one without"),
        ("break_points", {"fractions": [0, 0.5]}, "two or more `prune.fractions` above 0"),
    ],
)
def test_question_that_the_recipe_cannot_answer_is_refused(
    kind: str, change: dict[str, Any], message: str
) -> None:
    prune = {"scorers": ["taylor"], "fractions": [0.2, 0.5], "calibration": {"task": "a"}}
    content = {
        "name": "r",
        "description": "d",
        "model": {"pretrained": "x"},
        "prune": {**prune, **change},
        "study": {"kind": kind},
        "evaluate": {"tasks": ["a", "b"]},
    }
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(content)
    with pytest.raises(ValidationError, match="it needs `prune` alone"):
        Recipe.model_validate({**content, "prune": None})
