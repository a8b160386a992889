"""`sentinel bench`: a rehearsal of every section, wrong usage, and Ctrl-C."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sentinel_research.bench import run
from sentinel_research.bench.schema import SpeedFile
from sentinel_research.bench.schema_base import Section
from sentinel_research.cli import main
from sentinel_research.record import Check
from tests.cli.conftest import REHEARSAL

# one worker measures the sections once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("bench-command")]

SECTIONS = ["calibration", "pruning", "forward"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "speed" / "here.json"
    assert main([*REHEARSAL[1:], "--pairs", "2", "--output", str(path)]) == 0
    return path


@pytest.fixture
def copied(measured: Path, tmp_path: Path) -> Path:
    path = tmp_path / "here.json"
    path.write_bytes(measured.read_bytes())
    return path


def _bench(*words: str) -> list[str]:
    size = [] if "--size" in words else ["--size", "tiny"]
    return ["bench", "pruning", *size, *words]


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(_bench(*words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_tiny_run_measures_every_section(measured: Path) -> None:
    content = SpeedFile.model_validate_json(measured.read_text())
    for name in SECTIONS:
        section = getattr(content, name)
        assert all(one.num_pairs == 2 for one in section.comparisons), name
    assert content.peers is None
    assert content.pruning is not None
    if sys.platform == "linux":
        rows = [row.name for row in content.pruning.memory]
        assert rows[0] == "deepcopy"
        assert set(rows[1:]) == {one.name for one in content.pruning.comparisons}


def test_agency_joins_the_file_of_the_other_sections(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads(copied.read_text())
    words = ["bench", "agency", "--size", "tiny", "--pairs", "2", "--output", str(copied)]
    assert main(words) == 0
    after = json.loads(copied.read_text())
    assert {one["num_pairs"] for one in after.pop("agency")["comparisons"]} == {2}
    assert after == before
    assert "T8/static/at_rest: " in capsys.readouterr().err


def test_without_output_the_json_goes_to_stdout_and_words_to_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(_bench("--section", "calibration", "--pairs", "2")) == 0
    captured = capsys.readouterr()
    assert SpeedFile.model_validate_json(captured.out).calibration is not None
    assert "collect: " in captured.err
    assert list(tmp_path.iterdir()) == []


def test_one_section_measured_again_leaves_the_others(copied: Path) -> None:
    before = json.loads(copied.read_text())
    words = ["--section", "calibration", "--pairs", "2", "--output", str(copied)]
    assert main(_bench(*words)) == 0
    after = json.loads(copied.read_text())
    assert after.pop("calibration") != before.pop("calibration")
    assert after == before


def _interrupt(*arguments: object) -> NoReturn:
    raise KeyboardInterrupt


def test_ctrl_c_leaves_the_old_file_as_it_was(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copied.read_bytes()
    monkeypatch.setitem(run._RUN, "calibration", _interrupt)
    assert main(_bench("--output", str(copied))) == 130
    assert copied.read_bytes() == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_ctrl_c_keeps_the_sections_that_were_done(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads(copied.read_text())
    monkeypatch.setitem(run._RUN, "forward", _interrupt)
    words = ["--section", "calibration", "--section", "forward", "--pairs", "2"]
    assert main(_bench(*words, "--output", str(copied))) == 130
    after = json.loads(copied.read_text())
    assert after.pop("calibration") != before.pop("calibration")
    assert after == before


def test_failed_check_is_exit_code_1_and_is_kept(copied: Path, capsys: Any) -> None:
    content = SpeedFile.model_validate_json(copied.read_text())
    check = Check(name="it is fast", passed=False, detail="it is slow")

    def slow(*arguments: object) -> Section:
        assert content.calibration is not None
        return content.calibration.model_copy(update={"checks": (check,)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(run._RUN, "calibration", slow)
        assert main(_bench("--section", "calibration", "--output", str(copied))) == 1
    assert "FAILED: it is fast: it is slow" in capsys.readouterr().err
    assert '"it is fast"' in copied.read_text()


@pytest.mark.parametrize("words", [["--peers"], ["--section", "peers"]], ids=["flag", "section"])
def test_peer_that_is_not_installed_names_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        return None if name == "torch_pruning" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert "pip install sentinel-research[peers]" in _refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "7b"], "7b"),
        (["--section", "warmup"], "warmup"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--pairs", "1"], "Take at least --pairs 2"),
    ],
    ids=["size", "section", "absent device", "unknown device", "pairs"],
)
def test_wrong_usage_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in _refused(capsys, *words)


def test_file_of_another_device_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.write_text(json.dumps({**json.loads(copied.read_text()), "device": "Abacus"}))
    error = _refused(capsys, "--output", str(copied))
    assert "is of device 'Abacus'" in error
    assert "choose another --output" in error


def test_output_in_a_place_that_cannot_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    words = ["--output", str(tmp_path / "file" / "speed.json")]
    assert "cannot write to the output folder" in _refused(capsys, *words)


def test_help_loads_no_torch() -> None:
    code = """
import sys
from sentinel_research.cli import main
main(["bench", "--help"])
main(["bench", "pruning", "--help"])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, loaded = done.stdout.splitlines()
    assert loaded == "False"
    assert any("pruning" in line for line in text)
    assert any("--peers" in line for line in text)
