"""`sentinel claims`: the ledger on the command line."""

import json
import re
import shlex
from pathlib import Path

import pytest

from sentinel_research.cli import main
from tests.claims.conftest import METRIC, Folder, by_name
from tests.cli.conftest import refused

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder of baselines with one claim and the runs it is judged by."""
    made = Folder(tmp_path)
    for seed in range(3):
        made.record(f"a/{seed}", by_name({"low": 1.0 + 0.01 * seed}))
    statistic = {
        "kind": "paired",
        "metric": METRIC,
        "seeds": [0, 1, 2],
        "first": {"run": "a/{seed}", "cell": "low"},
    }
    part = {"says": "it is low", "statistic": statistic, "holds_if": {"at_most": 2}}
    made.claim("is-low", [part])
    return made


def claims(folder: Folder, *words: str) -> int:
    return main(["claims", *words, "--folder", str(folder.path)])


def test_claim_that_was_never_judged_fails_the_check(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claims(folder, "check", "is-low") == 1
    captured = capsys.readouterr()
    assert captured.out == (
        "is-low: supported\n  it is low: 1.01 (95%: 0.9852 to 1.035), supported\n"
        "  it was never judged\n"
    )
    assert "--write" in captured.err


def test_written_verdict_passes_the_check_until_its_evidence_changes(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claims(folder, "check", "is-low", "--write") == 0
    assert claims(folder, "check") == 0
    folder.record("a/0", by_name({"low": 9.0}))
    capsys.readouterr()
    assert claims(folder, "check") == 1
    assert "verdict: supported, now inconclusive" in capsys.readouterr().out


def test_list_has_a_line_for_every_claim(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claims(folder, "list") == 0
    assert capsys.readouterr().out == "is-low  not measured  is-low is so\n"


def test_report_is_markdown_or_json_to_a_file_or_not(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claims(folder, "check", "--write") == 0
    capsys.readouterr()
    assert claims(folder, "report") == 0
    assert capsys.readouterr().out.startswith("# Claims\n")
    target = tmp_path / "claims.json"
    assert claims(folder, "report", "--format", "json", "--output", str(target)) == 0
    assert json.loads(target.read_text())["claims"]["is-low"]["verdict"] == "supported"


def test_runs_of_your_own_are_judged_and_nothing_is_written(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    by_name({"low": 90.0}).write(tmp_path / "mine")
    own = f"a/0={tmp_path / 'mine'}"
    assert claims(folder, "check", "is-low", "--run", own) == 0
    assert capsys.readouterr().out.startswith("is-low: inconclusive\n")
    error = refused(
        capsys, "claims", "check", "--run", own, "--write", "--folder", str(folder.path)
    )
    assert "not kept" in error


@pytest.mark.parametrize("given", ["mine", "=mine", "a/0="])
def test_run_without_name_or_folder_is_refused(
    capsys: pytest.CaptureFixture[str], given: str
) -> None:
    assert "NAME=FOLDER" in refused(capsys, "claims", "check", "--run", given)


def test_unknown_claim_is_refused(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "claims", "check", "is-lo", "--folder", str(folder.path))
    assert "Did you mean 'is-low'?" in error


def test_runs_of_a_name_are_carried_out_and_kept(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "model.config={n_embd: 8, n_layer: 1, n_head: 2, n_positions: 128}"
    settings = [small, "train.num_steps=2", "train.batch_size=2", "prune=null", "evaluate.limit=2"]
    again = ["train=null", "prune=null", "model={pretrained: RUNS/b/one/model}", "evaluate.limit=2"]
    content = {
        "b/one": {"recipe": "demo", "set": settings},
        "b/two": {"recipe": "demo", "set": again},
        "c": {"bench": "levels"},
    }
    (folder.path / "claims" / "measurements.yaml").write_text(json.dumps(content))
    output = ("--output", str(tmp_path / "runs"), "--quiet")
    assert claims(folder, "measure", "b", *output) == 0
    kept = [str(folder.path / "records" / "b" / f"{name}.json.xz") for name in ("one", "two")]
    assert capsys.readouterr().out.splitlines() == kept
    error = refused(capsys, "claims", "measure", "c", "--folder", str(folder.path), *output)
    assert "sentinel bench levels" in error
    error = refused(capsys, "claims", "measure", "d", "--folder", str(folder.path), *output)
    assert "no run 'd'" in error


def test_examples_of_the_page_run_as_they_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "ledger.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines():
        words = shlex.split(line.replace("runs/claims.md", str(tmp_path / "claims.md")))
        assert main(words[1:]) == 0, line
    assert (tmp_path / "claims.md").read_text() == (ROOT / "docs" / "claims.md").read_text()
