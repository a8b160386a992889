"""`sentinel compare` on runs that `sentinel run` wrote."""

import json
import re
import shlex
from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.judgement import Comparison
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY, refused

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("compare")]
PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text()
# enough documents for a spread
SIZE = ["evaluate.limit=24", "prune.seeds=[0]"]
FAST = ["--num_resamples", "499"]


def _run(folder: Path, scorers: str) -> str:
    run(load_recipe("demo", [*TINY, *SIZE, f"prune.scorers={scorers}"]).recipe, folder)
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs that differ in one pruning."""
    folder = tmp_path_factory.mktemp("compared")
    return [
        _run(folder / "a", "[entropy_low, random]"),
        _run(folder / "b", "[entropy_low, magnitude_l2]"),
    ]


@pytest.fixture(scope="module")
def ordered(runs: list[str]) -> list[str]:
    """The dense cell and a pruned one, the better one first."""
    record = RunRecord.read(Path(runs[0]))
    values = {
        cell.id: cell.evaluation.measurement("sentinel_synthetic", "token_perplexity").value
        for cell in record.cells
        if cell.evaluation is not None
    }
    best, *_, worst = sorted(values, key=values.__getitem__)
    return [f"{runs[0]}:{best}", f"{runs[0]}:{worst}"]


def test_worse_model_is_found_and_can_fail_a_build(
    ordered: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *ordered]) == 0
    first = capsys.readouterr().out
    assert "worse" in first
    assert "24 documents" in first
    assert main(["compare", *ordered, "--fail-on", "worse"]) == 1
    # the same seed, the same text
    assert capsys.readouterr().out == first
    assert main(["compare", *reversed(ordered), "--fail-on", "worse"]) == 0
    assert "better" in capsys.readouterr().out


def test_cells_of_two_runs_are_paired_by_their_names(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *runs, *FAST, "--format", "json"]) == 0
    found = Comparison.model_validate_json(capsys.readouterr().out)
    # the recipe's seeds make both runs' dense and equally pruned models the same
    assert [(one.second.rpartition(":")[2], one.refusal) for one in found.findings] == [
        ("dense", "identical"),
        ("entropy_low-0.5", "identical"),
    ]


def test_prunings_of_two_runs_are_compared(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{runs[0]}:random-0.5-seed0", f"{runs[1]}:magnitude_l2-0.5"]
    words = ["--metrics", "word_perplexity", "bits_per_byte", "--correction", "bh"]
    assert main(["compare", *names, *FAST, *words, "--format", "json"]) == 0
    found = Comparison.model_validate_json(capsys.readouterr().out)
    assert [one.metric for one in found.findings] == ["word_perplexity", "bits_per_byte"]
    assert found.num_tests == 2
    for one in found.findings:
        assert one.evidence is not None
        assert one.evidence.num_units == 24


def test_output_is_a_file(
    ordered: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "comparison.md"
    words = ["--format", "markdown", "--output", str(path)]
    assert main(["compare", *ordered, *FAST, *words]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text().startswith("**")


def test_other_limits_are_no_comparison(
    runs: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", f"{runs[0]}:dense", f"{finished}:dense"]) == 2
    captured = capsys.readouterr()
    assert "error: nothing can be compared" in captured.err
    assert "24 documents (limit 24) against 6 documents (limit 6)" in captured.err
    assert "not comparable" in captured.out


def test_wrong_values_are_named(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "compare", *runs, "--level", "2")
    assert "`level` = '2'" in error
    error = refused(capsys, "compare", runs[0])
    assert "the reference first" in error
    error = refused(capsys, "compare", *runs, "--tasks", "sentinel_ptb")
    assert "sentinel_synthetic" in error


def test_examples_of_the_page_run_as_they_are_typed(
    runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    first, *commands = block.splitlines()
    # the demo is the README's test; here is a smaller one in its place
    assert first == "sentinel run demo --output runs/demo"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(runs[1])
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    assert (tmp_path / "comparison.md").exists()


def test_json_names_its_version(ordered: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *ordered, *FAST, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema_version"] == 1
