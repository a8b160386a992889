"""Every example of the page on reports runs as it is typed."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from tests.judgement.folders import accuracy, write_run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reports.md").read_text()


def test_examples_write_pages(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_cell: Any,
    make_record: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "regression_baselines").symlink_to(ROOT / "regression_baselines")
    for folder in ("runs/mine", "runs/sweep/models/one", "runs/sweep/models/two"):
        Path(folder).mkdir(parents=True)
        make_record([make_cell(20.0)], recipe={"prune": None}).write(Path(folder))
    names = {"name": "grid", "models": ["one", "two"]}
    Path("runs/sweep/sweep.json").write_text(json.dumps(names))
    for name, items in (("a", [1.0, 0.0, 1.0]), ("b", [1.0, 1.0, 1.0])):
        write_run(Path("runs", name), {"dense": accuracy(items * 10)})
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for command in block.splitlines():
        program, *words = shlex.split(command)
        assert program == "sentinel"
        assert main(words) == 0, capsys.readouterr().err
    pages = [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("**/*.html")]
    assert {"runs/mine/report.html", "runs/sweep/report.html", "compare.html"} <= set(pages)
    assert "claims.html" in pages


def test_page_says_the_limits_that_hold() -> None:
    from sentinel_research.reporting.numbers import MOST_VALUES
    from sentinel_research.reporting.render import MOST_ROWS

    assert f"end at {MOST_ROWS} rows and figures at {MOST_VALUES:,} values" in PAGE
