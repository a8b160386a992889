"""What is asked of the records of a folder, and the tables that answer it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import sentinel_research
from sentinel_research.cli import main
from sentinel_research.cli.app import LOADED_LATER, app
from sentinel_research.errors import UsageError
from sentinel_research.record import RECORD_FILE
from sentinel_research.store import Query, open_store
from sentinel_research.store.frame import RecordWarning
from tests.cli.conftest import refused

PERPLEXITY = "toy_task/token_perplexity"


def _listed(root: Path, *where: str, **asked: Any) -> list[str]:
    return list(open_store(root).list_runs(Query(where, **asked)).columns["recipe"])


def _cells(root: Path, *where: str) -> list[str]:
    return list(open_store(root).list_cells(Query(where)).columns["cell"])


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        ([], ["comparison", "pruning", "broken"]),
        (["recipe=pruning"], ["pruning"]),
        (["status=failed"], ["broken"]),
        (["status!=failed"], ["comparison", "pruning"]),
        (["scorer=wanda,entropy_low"], ["pruning", "broken"]),
        (["scorer=*o*"], ["pruning"]),
        (["fraction=0.5"], ["pruning", "broken"]),
        (["fraction<0.5"], ["pruning"]),
        (["fraction<0.5", "status=failed"], []),
        (["scorer=wanda", "fraction>=0.5"], ["broken"]),
        (["model=llama"], ["comparison"]),
        (["model=org/*"], ["pruning", "broken"]),
        (["task=other_task"], ["pruning"]),
        (["metric=token_perplexity"], ["comparison", "pruning", "broken"]),
        (["task=other_task", "metric=token_perplexity"], []),
        (["synthetic_data=true"], []),
        (["synthetic_data=false", "num_cells>3"], ["comparison"]),
    ],
    ids=" ".join,
)
def test_conditions_choose_runs(three_runs: Path, where: list[str], runs: list[str]) -> None:
    assert _listed(three_runs, *where) == runs


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ({"since": "2026-02-01"}, ["comparison", "pruning"]),
        ({"since": "2026-02-01T12:00:01"}, ["comparison"]),
        ({"until": "2026-02-01"}, ["pruning", "broken"]),
        ({"until": "2026-02-01T13:00+02:00"}, ["broken"]),
        ({"since": "2026-01-15", "until": "2026-02-15"}, ["pruning"]),
        ({"is_failed": True}, ["broken"]),
    ],
    ids=str,
)
def test_dates_and_failures_choose_runs(
    three_runs: Path, asked: dict[str, Any], runs: list[str]
) -> None:
    assert _listed(three_runs, **asked) == runs


@pytest.mark.parametrize(
    ("where", "message", "hint"),
    [
        ("scorer", "not of the form KEY=VALUE", "scorer=entropy_low"),
        ("scorrer=x", "unknown key 'scorrer'", "Did you mean 'scorer'?"),
        ("fraction=half", "fraction is a number, and 'half' is none", "fraction=0.5"),
        ("scorer>x", "scorer is text, and has no order", "take = or !="),
        ("synthetic_data=maybe", "'maybe' is no yes or no", "true or false"),
    ],
)
def test_condition_that_makes_no_sense_is_refused(
    three_runs: Path, where: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _listed(three_runs, where)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_value_of_a_condition_is_never_read_as_sql(three_runs: Path) -> None:
    assert _listed(three_runs, "scorer=x' OR 1 --") == []


def test_row_of_a_cell_has_its_numbers_to_the_last_bit(three_runs: Path) -> None:
    table = open_store(three_runs).list_cells(Query(("recipe=pruning",)))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows()]
    assert [row["cell"] for row in rows] == ["dense", "random-0.5", "entropy_low-0.25"]
    assert [row[PERPLEXITY] for row in rows] == [10.0, 20.0, 15.0]
    assert [row[f"{PERPLEXITY} stderr"] for row in rows] == [0.5] * 3
    assert [row["other_task/acc"] for row in rows] == [None, 0.25, None]
    assert rows[1]["other_task/acc stderr"] is None
    assert [row["fraction"] for row in rows] == [None, 0.5, 0.25]
    assert {row["path"] for row in rows} == {"pruning"}


def test_cell_that_failed_is_a_row_without_numbers(three_runs: Path) -> None:
    table = open_store(three_runs).list_cells(Query(("cell_status=failed",)))
    assert table.columns["cell"] == ["wanda-0.5"]
    assert table.columns["cell_error"] == ["the text was lost"]
    assert PERPLEXITY not in table.columns


def test_cells_of_a_comparison_have_a_model_each(three_runs: Path) -> None:
    assert _cells(three_runs, "model=llama") == ["llama-seed0", "llama-seed1"]
    assert _cells(three_runs, "arm_seed=1") == ["gpt2-seed1", "llama-seed1"]


def test_condition_on_a_metric_leaves_the_others_out(three_runs: Path) -> None:
    table = open_store(three_runs).list_cells(Query(("task=other_task",)))
    assert table.columns["cell"] == ["random-0.5"]
    assert PERPLEXITY not in table.columns
    long = open_store(three_runs).list_measurements(Query(("recipe=pruning", "cell=random*")))
    assert long.columns["metric"] == ["token_perplexity", "acc"]
    assert long.columns["value"] == [20.0, 0.25]
    assert long.columns["higher_is_better"] == [False, False]


@pytest.mark.parametrize("rows", ["cells", "measurements", "runs"])
def test_every_form_of_a_table_says_the_same(
    three_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str
) -> None:
    import pyarrow.parquet as pq

    found = open_store(three_runs)
    expected = {
        "cells": found.list_cells,
        "measurements": found.list_measurements,
        "runs": found.list_runs,
    }[rows](Query())
    for ending in ("csv", "json", "parquet"):
        path = tmp_path / f"out.{ending}"
        assert main(["runs", str(three_runs), "--rows", rows, "--export", str(path)]) == 0
        assert capsys.readouterr().out == f"{path}\n"
    objects = json.loads((tmp_path / "out.json").read_text())
    assert [tuple(one.values()) for one in objects] == expected.rows()
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == expected.columns
    with (tmp_path / "out.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    for text, row in zip(texts, objects, strict=True):
        for name, value in row.items():
            as_text = str(value).lower() if isinstance(value, bool) else str(value)
            assert text[name] == ("" if value is None else as_text)
    frame = sentinel_research.runs(three_runs, rows=rows)
    assert list(frame.columns) == list(expected.columns)
    for name, values in expected.columns.items():
        given = [
            None if missing else one
            for one, missing in zip(frame[name], frame[name].isna(), strict=True)
        ]
        assert given == values, name


def test_frame_names_what_is_no_record(three_runs: Path) -> None:
    (three_runs / "broken" / RECORD_FILE).write_text("{}")
    with pytest.warns(RecordWarning, match=r"broken/record.json has schema version None"):
        frame = sentinel_research.runs(three_runs, "scorer=random")
    assert frame[PERPLEXITY].tolist() == [20.0]


def test_list_shows_each_run_in_a_line(
    three_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(three_runs)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["recipe", "model", "status", "cells", "started", "headline", "path"]
    assert [line.split()[0] for line in lines] == ["comparison", "pruning", "broken"]
    for words in ("gpt2, llama", "4/4", "2026-03-01 12:00", "deep/er/comparison"):
        assert words in lines[0]
    assert "token_perplexity 10 (dense)" in lines[1]
    assert "failed  1/2, 1 failed" in lines[2]
    assert main(["runs", str(three_runs), "--failed", "--format", "json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["recipe"], run["num_failed_cells"], run["headline"]) == ("broken", 1, 10.0)


def test_damaged_record_is_said_on_stderr_and_the_rest_is_listed(
    three_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (three_runs / "broken" / RECORD_FILE).write_text("{")
    assert main(["runs", str(three_runs)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert "1 of 3 files are no record and left out" in captured.err
    assert captured.err.count("broken/record.json") == 1


def test_nothing_found_names_the_values_that_there_are(
    three_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(three_runs), "--where", "scorer=magnitude"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "none of 3 runs is as asked" in captured.err
    assert "scorer is one of: entropy_low, random, wanda" in captured.err
    (tmp_path / "empty").mkdir()
    assert main(["runs", str(tmp_path / "empty")]) == 0
    assert "there are no runs here" in capsys.readouterr().err


def test_what_cannot_be_listed_or_written_is_refused(
    three_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(three_runs)
    assert "there is no folder" in refused(capsys, "runs", str(tmp_path / "gone"))
    assert "ends with '.xlsx'" in refused(capsys, "runs", root, "--export", "a.xlsx")
    target = str(tmp_path / "gone" / "a.csv")
    assert "there is no folder" in refused(capsys, "runs", root, "--export", target)
    assert "'yesterday' is no date" in refused(capsys, "runs", root, "--since", "yesterday")


def test_help_says_of_commands_that_load_later_what_they_say_themselves() -> None:
    for name, summary in LOADED_LATER.items():
        command = app[name.replace("_", "-")]
        assert " ".join(command.help.split("\n\n")[0].split()) == summary
