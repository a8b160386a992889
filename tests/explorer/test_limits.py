"""What is too large or takes too long is refused with what to do instead; what is kept is found."""

from pathlib import Path

import numpy as np
import pytest

from sentinel_research.errors import UsageError
from sentinel_research.explorer import limits, subject
from sentinel_research.explorer.limits import check_memory, check_time, free_bytes
from sentinel_research.explorer.shelf import Shelf
from tests.explorer.conftest import request


def test_model_that_does_not_fit_is_refused_before_it_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(subject, "load", None)
    with pytest.raises(UsageError, match=r"exploring gpt2 takes about .* GB") as caught:
        subject.load_subject(request(folder))
    assert "sentinel run" in caught.value.hint
    assert "smaller model" in caught.value.hint


def test_model_that_just_fits_three_times_is_not_refused() -> None:
    check_memory("m", 10, 30)
    check_memory("m", 10, None)
    with pytest.raises(UsageError):
        check_memory("m", 10, 29)


def test_free_memory_is_the_least_of_machine_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99 kB\nMemAvailable:  7 kB\n")
    monkeypatch.setattr(limits, "_MEMINFO", meminfo)
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    assert free_bytes("cpu") == 7 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes("cpu") == 7 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert free_bytes("cpu") == 2000


def test_time_beyond_patience_is_said_with_three_ways_out() -> None:
    check_time(1.0, 600, 32, 10)
    with pytest.raises(UsageError, match=r"1,200 heads .* takes about 20 minutes") as caught:
        check_time(1.0, 1200, 32, 10)
    for way in ("--patience 30", "--sequences 16", "--estimates gradients"):
        assert way in caught.value.hint


def test_less_text_is_not_advised_where_none_is_little_enough() -> None:
    with pytest.raises(UsageError, match="takes about 400 minutes") as caught:
        check_time(20.0, 1200, 32, 10)
    assert "--sequences" not in caught.value.hint


def test_what_is_kept_is_found_by_what_it_depends_on(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    path = shelf.path(model="a", text="b")
    assert path == shelf.path(text="b", model="a")
    assert len({path, shelf.path(model="a", text="c"), shelf.path(model="b", text="b")}) == 3
    assert shelf.find(path) is None
    shelf.keep(path, {"x": np.arange(6.0).reshape(2, 3).T})
    found = shelf.find(path)
    assert found is not None
    assert np.array_equal(found["x"], np.arange(6.0).reshape(2, 3).T)


def test_damaged_file_is_named_and_measured_anew(tmp_path: Path) -> None:
    told: list[str] = []
    shelf = Shelf(tmp_path, told.append)
    path = shelf.path(model="a")
    shelf.keep(path, {"x": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:50])
    assert shelf.find(path) is None
    (said,) = told
    assert str(path) in said
    assert "measured anew" in said


def test_folder_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "file").write_text("no folder")
    shelf = Shelf(tmp_path / "file", told.append)
    for _ in range(2):
        shelf.keep(shelf.path(model="a"), {"x": np.zeros(1)})
    assert len(told) == 1
    assert "nothing is kept for the next start" in told[0]
