"""Every example of the pages on sweeps runs as it is typed."""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.sweep import simulate

pytestmark = pytest.mark.long

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def _blocks(page: str, language: str) -> list[str]:
    found = BLOCK.findall((DOCS / page).read_text())
    return [code for kind, code in found if kind == language]


@pytest.mark.filterwarnings("ignore:.*constant:UserWarning")
def test_examples_of_sweeps_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # figures take most of the time; `sentinel report` draws them below
    monkeypatch.setattr("sentinel_research.sweep.run.write_report", lambda folder: None)
    monkeypatch.setattr("sentinel_research.sweep.run.write_joined_report", lambda folder: None)
    for name in ("small", "large"):
        save(tiny_model("gpt2", seed=len(name)), byte_tokenizer(), Path("checkpoints", name))
    (recipe,) = _blocks("sweeps.md", "yaml")
    # every line of the grid, at one fraction
    Path("sweep.yaml").write_text(recipe.replace("[0.25, 0.5, 0.75]", "[0.5]"))
    for command in "".join(_blocks("sweeps.md", "bash")).splitlines():
        words = shlex.split(command)
        if words[0] == "pip" or "ray" in words:
            continue
        assert main(words[1:]) == 0, capsys.readouterr().err
    assert Path("runs/sweep/models/small/report.html").is_file()
    assert len(list(Path("runs/sweep/models").glob("*/cells/*/record.json"))) == 14


def test_page_on_scale_says_what_its_example_prints() -> None:
    (code,) = _blocks("scale.md", "python")
    (text,) = _blocks("scale.md", "text")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code, {})
    assert shown.getvalue() == text


def test_command_of_the_page_on_scale_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = _blocks("scale.md", "bash")
    program, flag, module, *words = shlex.split(command)
    assert (program, flag, module) == ("python", "-m", simulate.__name__)
    assert sys.modules[module] is simulate
    simulate._main(*words)
    assert '"num_cells": 101' in capsys.readouterr().out
