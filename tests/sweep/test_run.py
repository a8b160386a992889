"""A sweep has the numbers of runs of their own, and loses nothing when something fails."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel_research import files
from sentinel_research.cells import run_cell
from sentinel_research.errors import StorageError, UsageError
from sentinel_research.judgement.subjects import find_pairs
from sentinel_research.pipeline import run
from sentinel_research.record import RECORD_FILE, RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.sweep import Swept, run_sweep, work
from tests.sweep.conftest import Finished, sweep_recipe, values

# one worker has the finished sweep
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("sweep")]


@pytest.fixture(autouse=True)
def _no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time of a tiny sweep; those of `finished` are drawn."""
    monkeypatch.setattr("sentinel_research.sweep.run.write_report", lambda folder: None)
    monkeypatch.setattr("sentinel_research.sweep.run.write_joined_report", lambda folder: None)


@pytest.fixture
def small(models: dict[str, Any]) -> Recipe:
    """One model, three cells."""
    prune = {"scorers": ["magnitude_l2"], "fractions": [0.4, 0.6]}
    return sweep_recipe({"one": models["one"]}, prune=prune)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells that are computed, in order."""
    found: list[str] = []

    def noted(*args: Any) -> None:
        found.append(args[3].id)
        run_cell(*args)

    monkeypatch.setattr(work, "run_cell", noted)
    return found


def _failing_at(cell: str, error: BaseException) -> Callable[..., None]:
    """In place of `run_cell`: one cell fails."""

    def fails(*args: Any) -> None:
        if args[3].id == cell:
            raise error
        run_cell(*args)

    return fails


def _has_the_numbers_of(finished: Finished, swept: Swept) -> None:
    """Every cell of a smaller sweep has the numbers of the whole one."""
    whole = values(RunRecord.read(finished.swept.models[0]))
    found = values(RunRecord.read(swept.models[0]))
    assert found == {name: value for name, value in whole.items() if not name.startswith("random")}


@pytest.mark.parametrize("name", ["one", "other"])
def test_every_model_has_the_numbers_of_a_run_of_its_own(
    name: str, finished: Finished, tmp_path: Path
) -> None:
    alone = run(finished.recipe.of_model(name), tmp_path)
    swept = RunRecord.read(finished.swept.folder / "models" / name)
    assert len(values(alone)) > 5
    assert values(swept) == values(alone)
    assert [cell.id for cell in swept.cells] == [cell.id for cell in alone.cells]
    assert [cell.prune for cell in swept.cells if cell.id == "magnitude_l2-0.4"] == [
        {**(alone.cell("magnitude_l2-0.4").prune or {}), "scoring_seconds": pytest.approx(0, abs=9)}
    ]
    assert swept.recipe_fingerprint == alone.recipe_fingerprint
    assert swept.datasets == alone.datasets
    assert swept.status == "done"


def test_record_of_a_cell_is_an_ordinary_one_with_its_place(finished: Finished) -> None:
    cells = finished.swept.models[0] / "cells"
    record = RunRecord.read(cells / "random-0.6-seed0")
    record.require_sound()
    assert [cell.id for cell in record.cells] == ["random-0.6-seed0"]
    assert record.cell_of is not None
    assert record.cell_of.dense is not None
    assert RunRecord.read(cells / "random-0.6-seed0" / record.cell_of.dense).cells[0].id == "dense"
    (pair,) = find_pairs([str(cells / "dense"), str(cells / "random-0.6-seed0")])
    for subject in pair:
        assert subject.folder is not None
        assert (subject.folder / subject.evaluation.samples["sentinel_synthetic"]).is_file()


def test_joined_record_names_the_samples_of_every_cell(finished: Finished) -> None:
    folder = finished.swept.models[0]
    for cell in RunRecord.read(folder).cells:
        assert cell.evaluation is not None
        (samples,) = cell.evaluation.samples.values()
        assert (folder / samples).is_file()
    assert (folder / "report.html").is_file()


def test_all_models_have_one_report_with_links_to_their_own(finished: Finished) -> None:
    html = (finished.swept.folder / "report.html").read_text()
    assert "2 models: 10 of 10 cells done." in html
    for name in ("one", "other"):
        assert f'<a href="models/{name}/report.html">report of {name}</a>' in html
    assert (finished.swept.folder / "report.md").is_file()


def test_done_cells_are_not_computed_again(finished: Finished, computed: list[str]) -> None:
    again = run_sweep(finished.recipe, finished.swept.folder)
    assert computed == []
    assert (again.num_done, again.num_computed) == (10, 0)
    assert again.is_sound


def test_failed_cell_is_recorded_listed_and_begun_again(
    finished: Finished, small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = _failing_at("magnitude_l2-0.6", RuntimeError("the device is gone"))
    with monkeypatch.context() as patched:
        patched.setattr(work, "run_cell", broken)
        first = run_sweep(small, tmp_path)
    ((cell, error),) = first.failures
    assert cell == "one/magnitude_l2-0.6"
    assert error.startswith("RuntimeError: the device is gone (test_run.py:")
    assert not first.is_sound
    record = RunRecord.read(first.models[0] / "cells" / "magnitude_l2-0.6")
    assert (record.status, record.error) == ("failed", error)
    assert RunRecord.read(first.models[0]).status == "failed"
    again = run_sweep(small, tmp_path)
    assert (again.num_computed, again.failures) == (1, ())
    _has_the_numbers_of(finished, again)
    assert RunRecord.read(again.models[0]).status == "done"


def test_model_that_cannot_be_loaded_fails_its_own_cells_alone(
    models: dict[str, Any], tmp_path: Path
) -> None:
    bad = {"bad": {"pretrained": str(tmp_path / "nowhere")}, "one": models["one"]}
    prune = {"scorers": ["magnitude_l2"], "fractions": [0.4]}
    swept = run_sweep(sweep_recipe(bad, prune=prune), tmp_path / "grid")
    assert [cell for cell, _ in swept.failures] == ["bad/dense", "bad/magnitude_l2-0.4"]
    assert all("nowhere" in error for _, error in swept.failures)
    assert (swept.num_done, swept.num_cells) == (2, 4)


def test_interrupted_sweep_goes_on_where_it_was(
    finished: Finished,
    small: Recipe,
    computed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(work, "run_cell", _failing_at("magnitude_l2-0.6", KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run_sweep(small, tmp_path)
    swept = run_sweep(small, tmp_path)
    assert computed == ["magnitude_l2-0.6"]
    _has_the_numbers_of(finished, swept)


def test_full_disk_stops_the_sweep_and_loses_nothing_that_was_finished(
    finished: Finished,
    small: Recipe,
    computed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        # the sweep's own file and the index, then samples and record of each cell
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device") as refused:
            run_sweep(small, tmp_path)
    assert "the same command resumes" in refused.value.hint
    assert [path.parent.name for path in tmp_path.rglob(RECORD_FILE)] == ["dense"]
    assert all(json.loads(path.read_text()) for path in tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob(".*.json.*"))
    first = len(computed)
    swept = run_sweep(small, tmp_path)
    assert computed[first:] == ["magnitude_l2-0.4", "magnitude_l2-0.6"]
    _has_the_numbers_of(finished, swept)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a file system in memory, with room for 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (why := _mounted(folder, "size=64k")) is not None:
        pytest.skip(f"no file system can be mounted here: {why}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _mounted(folder: Path, options: str) -> str | None:
    """None once it is mounted, or why it is not."""
    if shutil.which("mount") is None:
        return "there is no mount"
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


def test_disk_that_is_really_full_stops_the_sweep_which_goes_on_with_more_room(
    finished: Finished, small: Recipe, computed: list[str], tiny_disk: Path
) -> None:
    folder = tiny_disk / "sweep"
    with pytest.raises(StorageError, match="No space left on device") as refused:
        run_sweep(small, folder)
    assert "the same command resumes" in refused.value.hint
    done = {path.parent.name for path in folder.rglob(RECORD_FILE)}
    assert done
    assert done < {"dense", "magnitude_l2-0.4", "magnitude_l2-0.6"}
    assert all(json.loads(path.read_text()) for path in folder.rglob("*.json"))
    assert _mounted(tiny_disk, "remount,size=64m") is None
    first = len(computed)
    swept = run_sweep(small, folder)
    assert not done.intersection(computed[first:])
    _has_the_numbers_of(finished, swept)


def test_library_that_finds_no_space_is_no_failure_of_the_cell(
    models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)"
    monkeypatch.setattr(work, "run_cell", _failing_at("dense", RuntimeError(words)))
    with pytest.raises(StorageError, match="No space left"):
        run_sweep(sweep_recipe(models), tmp_path)
    assert not list(tmp_path.rglob(RECORD_FILE))


def test_folder_of_another_sweep_is_refused(finished: Finished, models: dict[str, Any]) -> None:
    other = sweep_recipe(models, prune={"scorers": ["random"], "fractions": [0.4]})
    with pytest.raises(UsageError, match="another recipe"):
        run_sweep(other, finished.swept.folder)


def test_damaged_record_of_a_cell_is_named(finished: Finished, tmp_path: Path) -> None:
    path = tmp_path / "models" / "one" / "cells" / "dense" / RECORD_FILE
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(UsageError, match="is not the record of a cell") as refused:
        run_sweep(finished.recipe, tmp_path)
    assert str(path) in str(refused.value)


def test_one_run_does_not_take_a_sweep(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a sweep"):
        run(finished.recipe, tmp_path)
