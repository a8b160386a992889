"""The shipped fixture `regression_baseline`, as a project that is not ours uses it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel_research.baselines import accept_record
from tests.baselines.conftest import make_record

TEST = """
from pathlib import Path

def test_numbers(regression_baseline):
    regression_baseline(Path("run"){named})
"""
SETTINGS = "[pytest]\nregression_baselines = kept numbers\naddopts = -p no:cacheprovider\n"
Judge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Runs a foreign project's test on a record."""

    def start(perplexity: float, named: str = "") -> subprocess.CompletedProcess[str]:
        record = make_record()
        assert record.cells[0].evaluation is not None
        record.cells[0].evaluation.measurements[0].value = perplexity
        (tmp_path / "run").mkdir(exist_ok=True)
        record.write(tmp_path / "run")
        (tmp_path / "test_numbers.py").write_text(TEST.format(named=named))
        (tmp_path / "pytest.ini").write_text(SETTINGS)
        command = [sys.executable, "-m", "pytest", "-q"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return start


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept numbers"
    accept_record(make_record(), folder, "first")
    return folder


def test_same_numbers_pass(kept: Path, judge: Judge) -> None:
    done = judge(10.0)
    assert done.returncode == 0, done.stdout


def test_moved_number_fails_with_the_command_that_accepts_it(kept: Path, judge: Judge) -> None:
    done = judge(11.0)
    assert done.returncode == 1
    assert "the metric moved: 10.0, now 11.0" in done.stdout
    assert f"sentinel baseline accept run --folder '{kept}' --why" in done.stdout


def test_other_name_has_nothing_kept(kept: Path, judge: Judge) -> None:
    done = judge(10.0, ', suite="mine", model="other"')
    assert done.returncode == 1
    assert "nothing is kept of mine/other" in done.stdout
    assert "--suite mine --model other" in done.stdout
