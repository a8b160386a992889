"""The kept index of lm-eval's tasks: equal to a fresh one, made anew where that could be wrong."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
from lm_eval.tasks._index import TaskIndex

from sentinel_research.data import task_index, tasks
from sentinel_research.data.task_index import FILE_NAME, cache_folder, default_index

SHARED = "dataset_path: none\noutput_type: multiple_choice\n"
FILES = {
    "one/one.yaml": "include: _shared\ntask: one\n",
    "one/_shared": f"{SHARED}tag: [both]\n",
    "two.yaml": f"{SHARED}task: two\ntag: both\n",
    "group.yaml": "group: all\ntask: [one, two]\n",
    "written.yaml": "task: written\nclass: !function code.Task\n",
    "broken.yaml": "task: [",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of lm-eval's 14,000 files; the user's cache folder is beside it."""
    root = tmp_path / "tasks"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    monkeypatch.setattr(lm_eval.tasks, "__file__", str(root / "__init__.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was indexed from files."""
    found = []
    build = TaskIndex.build

    def counted(paths: Any, **options: Any) -> Any:
        found.append(paths)
        return build(paths, **options)

    monkeypatch.setattr(TaskIndex, "build", staticmethod(counted))
    return found


def _told(index: dict[str, Any]) -> dict[str, Any]:
    return {name: (one.name, one.kind, one.yaml_path, one.tags) for name, one in index.items()}


def test_kept_index_equals_a_fresh_one(folder: Path, builds: list[Any]) -> None:
    fresh = default_index()
    assert sorted(fresh) == ["all", "both", "one", "two", "written"]
    kept = default_index()
    assert len(builds) == 1
    assert list(kept) == list(fresh)
    assert _told(kept) == _told(fresh)


@pytest.mark.parametrize(
    "change", ["new", "edited", "dated-back", "included", "gone", "renamed", "release", "moved"]
)
def test_changed_installation_is_indexed_anew(
    change: str, folder: Path, builds: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    default_index()
    if change == "new":
        (folder / "three.yaml").write_text(f"{SHARED}task: three\n")
    elif change == "edited":
        (folder / "two.yaml").write_text(f"{SHARED}task: too\ntag: both\n")
    elif change == "dated-back":
        before = (folder / "two.yaml").stat()
        (folder / "two.yaml").write_text(f"{SHARED}task: longer\ntag: both\n")
        os.utime(folder / "two.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "renamed":
        (folder / "two.yaml").rename(folder / "too.yaml")
    elif change == "included":
        (folder / "one" / "_shared").write_text(f"{SHARED}tag: [else]\n")
    elif change == "gone":
        (folder / "group.yaml").unlink()
    elif change == "release":
        monkeypatch.setattr(task_index.importlib.metadata, "version", lambda _: "9")
    else:
        moved = folder.rename(folder.with_name("moved"))
        monkeypatch.setattr(lm_eval.tasks, "__file__", str(moved / "__init__.py"))
    expected = TaskIndex.build([Path(lm_eval.tasks.__file__).parent])
    builds.clear()
    assert _told(default_index()) == _told(expected)
    assert len(builds) == 1


DAMAGED = {
    "half": lambda text: text[: len(text) // 2],
    "list": lambda _: "[]",
    "kind": lambda text: text.replace('"GROUP"', '"HEAP"'),
    "outside": lambda text: text.replace('"two.yaml"', '"../two.yaml"'),
    "absolute": lambda text: text.replace('"two.yaml"', '"/two.yaml"'),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_index_is_made_anew_and_said(
    damage: Any, folder: Path, builds: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    expected = _told(default_index())
    file = cache_folder() / FILE_NAME
    text = file.read_text()
    file.write_text(damage(text))
    with caplog.at_level(logging.WARNING):
        assert _told(default_index()) == expected
    assert "indexed anew" in caplog.text
    assert file.read_text() == text
    assert len(builds) == 2


def test_home_that_cannot_be_written_is_said_and_no_failure(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # a file in the place of the folder: permissions do not stop root
    (tmp_path / "cache").write_text("")
    with caplog.at_level(logging.WARNING):
        assert "one" in default_index()
    assert "is not kept" in caplog.text


def test_user_without_a_home_is_told_and_served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(task_index, "cache_folder", homeless)
    with caplog.at_level(logging.WARNING):
        assert "one" in default_index()
    assert "is not kept: no home" in caplog.text


@pytest.mark.parametrize("named", ["", "relative"])
def test_cache_folder_is_in_the_home_unless_an_absolute_one_is_named(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sentinel_research"


def test_own_task_comes_before_lm_evals_of_its_name_and_groups_are_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"two": f"{SHARED}task: two\ndescription: ours\n"}
    monkeypatch.setattr(tasks, "_GENERATED", own)
    try:
        index = tasks.find_tasks(["both", "all", "two"]).task_index
    finally:
        tasks._task_manager.cache_clear()
    assert index["two"].cfg["description"] == "ours"
    assert index["both"].tags == {"one", "two"}


def test_kept_index_holds_nothing_but_data(folder: Path) -> None:
    default_index()
    content = json.loads((cache_folder() / FILE_NAME).read_text())
    assert ["two", "TASK", "two.yaml", ["both"]] in content["entries"]
    assert ["both", "TAG", None, ["one", "two"]] in content["entries"]


def test_task_of_ours_needs_no_index_of_lm_evals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_index, "default_index", None)
    assert "sentinel_sst2" in tasks.find_tasks(["sentinel_sst2", "sentinel_mmlu"]).task_index
