"""The index of a folder of runs agrees with the records, or is made to."""

import lzma
import os
import random
import shutil
import threading
from pathlib import Path

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.record import RECORD_FILE
from sentinel_research.store import Found, Query, index, index_file, open_store
from sentinel_research.store.index_file import INDEX_FILE
from tests.store.conftest import cell, perplexity, write


def _paths(found: Found) -> set[str]:
    return set(found.list_runs(Query()).columns["path"])


def _headlines(found: Found) -> dict[str, float]:
    columns = found.list_runs(Query()).columns
    return dict(zip(columns["path"], columns["headline"], strict=True))


def _run(folder: Path, value: float = 1.0, status: str = "done") -> None:
    write(folder, [cell("dense", perplexity(value))], status=status)
    (folder / "cells" / "dense").mkdir(parents=True, exist_ok=True)


def test_runs_are_found_at_any_depth_among_cells_and_kept(tmp_path: Path) -> None:
    _run(tmp_path / "one")
    _run(tmp_path / "studies" / "a" / "two")
    _run(tmp_path / "sweep")
    _run(tmp_path / "sweep" / "cells" / "random-0.5")
    _run(tmp_path / "bare-sweep" / "cells" / "three")
    (tmp_path / "kept").mkdir()
    kept = lzma.compress((tmp_path / "one" / RECORD_FILE).read_bytes())
    (tmp_path / "kept" / "old.json.xz").write_bytes(kept)
    found = open_store(tmp_path)
    assert _paths(found) == {
        "one",
        "studies/a/two",
        "sweep",
        "sweep/cells/random-0.5",
        "bare-sweep/cells/three",
        "kept/old.json.xz",
    }
    assert found.refreshed.problems == {}


def test_run_is_a_folder_of_itself(tmp_path: Path) -> None:
    _run(tmp_path / "sweep")
    _run(tmp_path / "sweep" / "cells" / "inner")
    assert _paths(open_store(tmp_path / "sweep")) == {".", "cells/inner"}


def test_hidden_folders_links_and_what_else_a_run_holds_are_not_entered(tmp_path: Path) -> None:
    _run(tmp_path / "runs" / "one")
    _run(tmp_path / "runs" / ".trash" / "two")
    _run(tmp_path / "runs" / "one" / "model" / "three")
    _run(tmp_path / "elsewhere")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs")
    assert _paths(open_store(tmp_path / "runs")) == {"one"}


def test_no_record_is_read_twice(tmp_path: Path, trusting: None) -> None:
    for name in "abc":
        _run(tmp_path / name)
    first = open_store(tmp_path)
    assert (first.refreshed.num_read, first.refreshed.num_files) == (3, 3)
    again = open_store(tmp_path)
    assert (again.refreshed.num_read, again.refreshed.num_files) == (0, 3)
    assert again.list_cells(Query()) == first.list_cells(Query())
    assert open_store(tmp_path, fresh=True).refreshed.num_read == 3


def test_changed_record_is_read_again_and_a_deleted_run_is_gone(
    tmp_path: Path, trusting: None
) -> None:
    for name in "abc":
        _run(tmp_path / name)
    open_store(tmp_path)
    _run(tmp_path / "a", 2.0)
    shutil.rmtree(tmp_path / "b")
    found = open_store(tmp_path)
    assert _headlines(found) == {"a": 2.0, "c": 1.0}
    assert found.refreshed.num_read == 1


def test_record_replaced_by_one_of_equal_size_and_time_is_read_again(
    tmp_path: Path, trusting: None
) -> None:
    _run(tmp_path / "a", 1.0)
    path = tmp_path / "a" / RECORD_FILE
    before = path.stat()
    open_store(tmp_path)
    _run(tmp_path / "a", 2.0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert _headlines(open_store(tmp_path)) == {"a": 2.0}


def test_record_that_changed_a_moment_ago_is_not_trusted_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path / "a")
    open_store(tmp_path)
    assert open_store(tmp_path).refreshed.num_read == 1
    monkeypatch.setattr(index, "_SETTLED_NS", 0)
    assert open_store(tmp_path).refreshed.num_read == 1
    assert open_store(tmp_path).refreshed.num_read == 0


@pytest.mark.parametrize("status", ["started", "done"])
def test_run_that_appears_among_the_cells_of_another_is_found(
    tmp_path: Path, trusting: None, status: str
) -> None:
    _run(tmp_path / "sweep", status=status)
    open_store(tmp_path)
    assert _paths(open_store(tmp_path)) == {"sweep"}
    _run(tmp_path / "sweep" / "cells" / "late")
    assert _paths(open_store(tmp_path)) == {"sweep", "sweep/cells/late"}
    _run(tmp_path / "sweep" / "cells" / "later")
    assert _paths(open_store(tmp_path)) == {"sweep", "sweep/cells/late", "sweep/cells/later"}


def test_run_that_begins_in_a_cell_of_an_unfinished_one_is_found(
    tmp_path: Path, trusting: None
) -> None:
    _run(tmp_path / "sweep", status="started")
    open_store(tmp_path)
    write(tmp_path / "sweep" / "cells" / "dense", [])
    assert _paths(open_store(tmp_path)) == {"sweep", "sweep/cells/dense"}


def test_whatever_happens_to_the_records_the_index_says_what_reading_all_says(
    tmp_path: Path, trusting: None
) -> None:
    drawn = random.Random(0)
    for _ in range(40):
        name = drawn.choice(["a", "b", "c", "s", "s/cells/x", "s/cells/y"])
        match drawn.randrange(4):
            case 0:
                shutil.rmtree(tmp_path / name, ignore_errors=True)
            case 1:
                (tmp_path / name).mkdir(parents=True, exist_ok=True)
                (tmp_path / name / RECORD_FILE).write_text("{")
            case _:
                _run(tmp_path / name, drawn.random(), drawn.choice(["started", "done"]))
        found, fresh = open_store(tmp_path), open_store(tmp_path, fresh=True)
        if drawn.random() < 0.5:
            (tmp_path / INDEX_FILE).unlink()
        assert found.list_runs(Query()) == fresh.list_runs(Query())
        assert found.list_cells(Query()) == fresh.list_cells(Query())
        assert found.refreshed.problems == fresh.refreshed.problems


def test_damaged_and_foreign_files_are_named_and_the_others_are_listed(
    tmp_path: Path, trusting: None
) -> None:
    _run(tmp_path / "good")
    for name, content in (
        ("half", b'{"schema_version": 1, "na'),
        ("foreign", b'{"loss": 1.0}'),
        ("newer", b'{"schema_version": 99}'),
        ("binary", b"\xff\xfe\x00"),
        ("deep", b'{"a":' * 100_000),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD_FILE).write_bytes(content)
    (tmp_path / "bad.json.xz").write_bytes(b"no archive")
    found = open_store(tmp_path)
    assert _paths(found) == {"good"}
    assert set(found.refreshed.problems) == {
        *("half", "foreign", "newer", "binary", "deep", "bad.json.xz")
    }
    for path, problem in found.refreshed.problems.items():
        assert problem.startswith(f"{path}"), problem
        assert "\n" not in problem
    assert "schema version 99" in found.refreshed.problems["newer"]
    again = open_store(tmp_path)
    assert again.refreshed.num_read == 0
    assert again.refreshed.problems == found.refreshed.problems
    _run(tmp_path / "half")
    assert _paths(open_store(tmp_path)) == {"good", "half"}


@pytest.mark.parametrize("at", [0, 30, 61, 5000, -1])
def test_index_with_one_other_byte_is_made_anew_and_said(
    tmp_path: Path, trusting: None, at: int
) -> None:
    _run(tmp_path / "a")
    open_store(tmp_path)
    path = tmp_path / INDEX_FILE
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    found = open_store(tmp_path)
    assert found.refreshed.num_read == 1
    (note,) = found.refreshed.notes
    assert "was damaged" in note
    assert _headlines(found) == {"a": 1.0}
    assert open_store(tmp_path).refreshed.notes == []


@pytest.mark.parametrize("content", [b"", b"SQLite", b"x" * 5000], ids=["empty", "short", "other"])
def test_file_that_is_no_index_is_replaced(tmp_path: Path, content: bytes) -> None:
    _run(tmp_path / "a")
    (tmp_path / INDEX_FILE).write_bytes(content)
    assert "was damaged" in open_store(tmp_path).refreshed.notes[0]
    assert _headlines(open_store(tmp_path)) == {"a": 1.0}


def test_index_that_other_code_made_is_made_anew(
    tmp_path: Path, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path / "a")
    open_store(tmp_path)
    monkeypatch.setattr(index_file, "code_digest", lambda: "another")
    assert open_store(tmp_path).refreshed.num_read == 1
    assert open_store(tmp_path).refreshed.num_read == 0


def test_folder_that_cannot_be_written_is_listed_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path / "a")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    found = open_store(tmp_path)
    assert _headlines(found) == {"a": 1.0}
    (note,) = found.refreshed.notes
    assert "No space left on device" in note
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_interruption_keeps_what_was_read(
    tmp_path: Path, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        _run(tmp_path / name)
    real, seen = index._Reader.read, []

    def read(self: object, *arguments: object) -> None:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(arguments)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(index._Reader, "read", read)
    with pytest.raises(KeyboardInterrupt):
        open_store(tmp_path)
    monkeypatch.setattr(index._Reader, "read", real)
    assert open_store(tmp_path).refreshed.num_read == 1


def test_many_at_once_write_a_whole_index_and_see_all_runs(tmp_path: Path, trusting: None) -> None:
    for name in range(20):
        _run(tmp_path / f"run-{name}")
    seen: list[int] = []

    def look(number: int) -> None:
        for round_ in range(3):
            _run(tmp_path / f"own-{number}", float(round_))
            headlines = _headlines(open_store(tmp_path))
            assert headlines[f"own-{number}"] == round_
            seen.append(len(headlines))

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 12
    last = open_store(tmp_path)
    assert last.refreshed.notes == []
    assert len(_paths(last)) == 24
    names = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert names == [INDEX_FILE]


@pytest.mark.parametrize(("name", "words"), [("gone", "there is no folder"), ("file", "no folder")])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=words):
        open_store(tmp_path / name)
