"""Every example of the pages on trackers and on progress runs as it is typed."""

import re
import shlex
from pathlib import Path

import pytest

from tests.tracking.conftest import COMMAND

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def _blocks(page: str, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall((DOCS / page).read_text()) if kind == language]


def test_command_of_the_page_is_the_one_whose_files_are_read_back() -> None:
    install, command = "".join(_blocks("tracking.md", "bash")).splitlines()
    assert install == "pip install sentinel-research[tracking]"
    settings = [at for at, word in enumerate(COMMAND) if word == "--set"]
    changed = {at + more for at in settings for more in (0, 1)}
    assert shlex.split(command) == [w for at, w in enumerate(COMMAND) if at not in changed]


def test_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="pip install sentinel-research[tracking]")
    monkeypatch.chdir(tmp_path)
    (code,) = _blocks("tracking.md", "python")
    exec(code, {})
    assert capsys.readouterr().out == "runs/tracked/tracking/tensorboard\n"
    assert list(Path("runs/tracked/tracking/tensorboard").glob("events.*"))
