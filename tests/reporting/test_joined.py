"""The report of a sweep: its models beside each other, each over its own dense model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting import report, report_sweep
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.joined import joined_page, read_models

Make = Callable[..., CellRecord]
WriteSweep = Callable[[dict[str, RunRecord]], Path]


@pytest.fixture
def write_sweep(tmp_path: Path) -> WriteSweep:
    """Writes the records of a sweep's models and returns its folder."""

    def write(records: dict[str, RunRecord]) -> Path:
        for name, record in records.items():
            (tmp_path / "models" / name).mkdir(parents=True)
            record.write(tmp_path / "models" / name)
        names = {"name": "grid", "models": [*records]}
        (tmp_path / "sweep.json").write_text(json.dumps(names))
        return tmp_path

    return write


@pytest.fixture
def models(make_cell: Make, make_record: Any) -> dict[str, RunRecord]:
    """A model that pruning hurts little, and one that it hurts; one cell of it failed."""
    recipe = {"prune": {"scorers": ["one"], "fractions": [0.5]}}

    def model(metric: str, dense: float, pruned: float, flops: float) -> RunRecord:
        cells = [make_cell({metric: dense}), make_cell({metric: pruned}, "one", 0.5)]
        assert cells[1].prune is not None
        cells[1].prune |= {"flops_per_token_before": flops, "flops_per_token_after": flops / 2}
        return make_record(cells, recipe=recipe)

    found = {
        "small": model("bits_per_byte", 2.0, 2.5, 100.0),
        "<large>": model("bits_per_byte", 1.0, 2.0, 400.0),
    }
    failed = make_cell(None, "two", 0.5, error="\x1b[2Jout of memory")
    found["<large>"].cells.append(failed)
    return found


def _parts(folder: Path) -> dict[str, Part]:
    swept = read_models(folder)
    assert swept is not None
    return {part.key: part for one in joined_page(swept).sections for part in one.parts}


def test_models_are_compared_by_the_ratio_to_their_own_dense_model(
    models: dict[str, RunRecord], write_sweep: WriteSweep
) -> None:
    rows = _parts(write_sweep(models))["ratios-toy_task"].numbers
    assert {row.arm: row.spread.value for row in rows} == {"small": 1.25, "<large>": 2.0}


def test_all_models_and_prunings_stand_on_one_front_of_operations(
    models: dict[str, RunRecord], write_sweep: WriteSweep
) -> None:
    places = _parts(write_sweep(models))["front-toy_task"].numbers
    assert {place.name: (place.cost.value, place.quality.value) for place in places} == {
        "small, dense at 0": (100.0, 2.0),
        "small, one at 0.5": (50.0, 2.5),
        "<large>, dense at 0": (400.0, 1.0),
        "<large>, one at 0.5": (200.0, 2.0),
    }


def test_perplexities_per_token_are_not_put_on_one_front(
    make_cell: Make, make_record: Any, write_sweep: WriteSweep
) -> None:
    record = make_record([make_cell(20.0), make_cell(30.0, "magnitude", 0.5)])
    part = _parts(write_sweep({"a": record, "b": record}))["front-toy_task"]
    assert part.figure is None
    assert "token_perplexity depends on what cuts text into tokens" in part.absent


def test_report_of_a_sweep_writes_that_of_every_model_too(
    models: dict[str, RunRecord], write_sweep: WriteSweep
) -> None:
    folder = write_sweep(models)
    files = report(folder)
    html = files.html.read_text()
    assert 'href="models/small/report.html"' in html
    assert 'href="models/%3Clarge%3E/report.html"' in html
    assert "&lt;large&gt;, two-0.5-seed0: ␛[2Jout of memory" in html
    assert "<large>" not in html
    for name in models:
        assert (folder / "models" / name / "report.html").is_file()
    content = json.loads(files.json.read_text())
    assert content["parts"]["ratios-toy_task"]["rows"][0]["spread"]["value"] == 1.25
    for line in files.markdown.read_text().splitlines():
        if line.startswith("!["):
            assert (folder / line.split("](")[1].rstrip(")")).is_file()


def test_sweep_of_one_model_without_a_name_has_no_joined_report(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"name": "grid", "models": [""]}')
    assert report_sweep(tmp_path) is None


def test_damaged_file_of_a_sweep_is_refused_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UsageError, match="is not the file of a sweep") as caught:
        report(tmp_path)
    assert "`sentinel run` writes it again" in caught.value.hint
