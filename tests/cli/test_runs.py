"""The examples of the page on runs, on a run that is at hand."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from sentinel_research.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()


def test_examples_of_the_page_run_as_they_are(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs" / "demo")
    commands = [
        line
        for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) == 5
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    shown = capsys.readouterr().out
    assert "runs/cells.csv" in shown
    assert len((tmp_path / "runs" / "cells.csv").read_text().splitlines()) == 5
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert "gate_gradient" in capsys.readouterr().out
