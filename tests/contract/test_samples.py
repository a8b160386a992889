"""Samples of an evaluation: JSON lines or parquet, and the same rows from both."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from sentinel_research.cli import main
from sentinel_research.evaluation import read_samples, samples
from sentinel_research.evaluation.samples import write_samples
from tests.judgement.folders import accuracy, write_run

# of every shape that lm-eval's rows have: mixed lists, nested documents, keys that some rows lack
ROWS: list[dict[str, Any]] = [
    {
        "doc_id": 0,
        "doc": {"text": "a", "n": 1},
        "arguments": [["a", {"until": ["\n"]}], []],
        "resps": [[-1.5, True]],
        "acc": 1.0,
        "exact": True,
        "word_perplexity": [-606.0290298024192, 127],
        "log_prob": 0.1 + 0.2,
    },
    {"doc_id": 1, "doc": None, "arguments": [], "resps": "text", "acc": 0, "huge": 2**70},
    {"doc_id": 2, "filter": "strict", "exact": None, "log_prob": -0.0, "empty": []},
]
_JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(strategies.characters(codec="utf-8")),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text("ab"), inner),
    max_leaves=4,
)


@pytest.fixture
def always_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PARQUET_BYTES", 0)


def _types(value: Any) -> Any:
    """A value with the type of every part: 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    return [_types(item) for item in value] if isinstance(value, list) else (type(value), value)


def test_few_samples_are_lines_and_many_are_parquet(tmp_path: Path) -> None:
    row = {"text": "x" * 1000}
    assert write_samples(tmp_path, "few", [row] * 10) == "samples_few.jsonl"
    many = [row] * (samples.PARQUET_BYTES // 1000)
    assert write_samples(tmp_path, "many", many) == "samples_many.parquet"
    assert read_samples(tmp_path / "samples_few.jsonl") == [row] * 10
    assert read_samples(tmp_path / "samples_many.parquet") == many
    assert (tmp_path / "samples_many.parquet").stat().st_size < samples.PARQUET_BYTES / 100


def test_parquet_gives_back_every_row_with_its_types_and_keys(
    tmp_path: Path, always_parquet: None
) -> None:
    found = read_samples(tmp_path / write_samples(tmp_path, "t", ROWS))
    assert _types(found) == _types(ROWS)
    assert math.copysign(1, found[2]["log_prob"]) == -1


@given(rows=strategies.lists(strategies.dictionaries(strategies.text("ab"), _JSON), max_size=4))
def test_any_rows_come_back_from_parquet_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "samples_any.parquet"
    path.write_bytes(samples._as_parquet(rows))
    assert _types(read_samples(path)) == _types(rows)


def test_samples_that_change_their_form_leave_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(tmp_path, "t", ROWS)
    monkeypatch.setattr(samples, "PARQUET_BYTES", 0)
    write_samples(tmp_path, "t", ROWS[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["samples_t.parquet"]


@pytest.mark.parametrize("limit", [0, 10**9], ids=["parquet", "lines"])
def test_number_that_is_not_finite_is_refused_in_both_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(samples, "PARQUET_BYTES", limit)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_samples(tmp_path, "t", [{"acc": math.nan}])
    assert list(tmp_path.iterdir()) == []


def test_parquet_that_is_damaged_or_of_something_else_is_refused(
    tmp_path: Path, always_parquet: None
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / write_samples(tmp_path, "t", ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"[Pp]arquet"):
        read_samples(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(ValueError, match="holds no samples"):
        read_samples(path)


def test_runs_with_samples_in_either_form_are_compared_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        write_run(tmp_path / name, {"dense": accuracy(items)})
        for name, items in (("a", [1.0, 0.0] * 10), ("b", [1.0] * 20))
    ]
    assert main(["compare", *names, "--format", "json"]) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(samples, "PARQUET_BYTES", 0)
    own = tmp_path / "b" / "cells" / "dense"
    (lines,) = own.glob("samples_*.jsonl")
    task = lines.stem.removeprefix("samples_")
    name = write_samples(own, task, read_samples(lines))
    record = tmp_path / "b" / "record.json"
    record.write_text(record.read_text().replace(lines.name, name))
    assert main(["compare", *names, "--format", "json"]) == 0
    assert capsys.readouterr().out == expected
