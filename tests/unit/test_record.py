"""Records: strict JSON, atomic, and refused when damaged."""

import json
import math
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from sentinel_research import files as files_module
from sentinel_research.environment import environment
from sentinel_research.errors import SentinelError, UsageError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.record import CellRecord, Check, Measurement, RunRecord


def _record() -> RunRecord:
    return RunRecord(
        name="r",
        recipe={"name": "r"},
        recipe_fingerprint="f",
        synthetic_data=False,
        started_at="2026-01-01T00:00:00+00:00",
        environment={},
    )


def test_record_survives_writing_and_reading(tmp_path: Path) -> None:
    written = _record()
    written.checks.append(Check(name="n", passed=False, detail="d"))
    written.write(tmp_path)
    assert RunRecord.read(tmp_path) == written
    assert written.failed_checks() == written.checks


def test_failed_checks_are_those_of_the_run_and_of_its_cells() -> None:
    record = _record()
    good, bad, worse = (
        Check(name=name, passed=name == "good", detail="") for name in ("good", "bad", "worse")
    )
    record.checks = [good, bad]
    record.cells = [CellRecord(id="one", prune_spec=None, checks=[good, worse])]
    assert record.failed_checks() == [bad, worse]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_measurement_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        Measurement(task="t", metric="m", value=value, stderr=None, higher_is_better=None)


def test_record_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = _record().write(tmp_path)
    content = json.loads(path.read_text()) | {"schema_version": 99}
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="schema version 99"):
        RunRecord.read(tmp_path)


def test_record_edited_by_hand_names_the_broken_key(tmp_path: Path) -> None:
    path = _record().write(tmp_path)
    content = json.loads(path.read_text()) | {"status": "splendid"}
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="`status`"):
        RunRecord.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UsageError, match="record"):
        RunRecord.read(tmp_path)


def test_missing_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        RunRecord.read(tmp_path)


def test_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(SentinelError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", "text")
    (tmp_path / "theirs").write_text("text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(UsageError, match="cannot write to the output folder"):
        create_folder(path)
    with pytest.raises(UsageError, match="cannot write to the output folder"):
        create_folder(path / "below")


def test_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files_module.tempfile, "NamedTemporaryFile", denied)
    with pytest.raises(UsageError, match="Permission denied"):
        create_folder(tmp_path)


def test_environment_names_the_versions_that_made_a_number() -> None:
    found = environment("cpu")
    assert {"torch", "transformers", "lm-eval", "sentinel-research"} <= set(found["packages"])
    assert found["git"]["commit"] or found["git"]["reason"]
