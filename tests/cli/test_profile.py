"""`sentinel profile`: files, resuming, exit codes, and wrong usage."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.models.layout import structure_of
from sentinel_research.profiling import run
from sentinel_research.profiling.schema import ProfileReport
from sentinel_research.profiling.target import ModelMeter
from sentinel_research.progress import plain
from sentinel_research.pruning import load, parse_plan
from sentinel_research.specs import ModelSpec
from sentinel_research.timing import Median
from tests.cli.conftest import refused

pytestmark = pytest.mark.long

PAGE = (Path(__file__).parents[2] / "docs" / "profile.md").read_text()
QUICK = ["--prompt-tokens", "4", "--new-tokens", "1", "--pairs", "2", "--no-memory", "--no-modules"]
TINY = ["profile", "shape:tiny", *QUICK]


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed in a search: the clock finds what arithmetic promises."""

    def measured(meter: ModelMeter, combination: object) -> dict[str, Median]:
        found = meter.predicted(combination)  # type: ignore[arg-type]
        return {
            phase: Median(median=value, low=value, high=value, coverage=0.95)
            for phase, value in found.items()
        }

    monkeypatch.setattr(ModelMeter, "measured", measured)


def test_prunings_are_put_beside_the_dense_model_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "--prune", "head=0.5", "--granularity", "head+neuron", "--fraction", "0.25"]
    words += ["--level", "1", "--output", str(tmp_path)]
    assert main(words) == 0
    report = ProfileReport.model_validate_json((tmp_path / run.JSON).read_text())
    assert report.prunings is not None
    names = ["dense", "head=0.5", "head=0.25,neuron=0.25"]
    assert [row.cost.name for row in report.prunings] == names
    assert report.levels is not None
    assert [row.cost.name for row in report.levels[0].rows] == ["dense", "level 0", "level 1"]
    # two rounds tell nothing
    assert report.recommendations == ()
    text = (tmp_path / run.MARKDOWN).read_text()
    assert "| head=0.25,neuron=0.25 | decode |" in text
    assert "None: no interval of a ratio excludes 1." in text
    html = (tmp_path / "profile.html").read_text()
    assert "Optimisation levels of head=0.5" in html
    assert "Leave --no-memory out." in html
    before = (tmp_path / run.JSON).read_bytes()
    monkeypatch.setattr(run, "_MEASURE", {})
    assert main(words) == 0
    assert (tmp_path / run.JSON).read_bytes() == before
    assert main([*words, "--seed", "1"]) == 2
    assert "is of another request" in capsys.readouterr().err


@pytest.mark.usefixtures("instant")
def test_target_is_exported_as_a_plan_and_the_model_that_it_leaves(tmp_path: Path) -> None:
    words = [*TINY, "--target-speedup", "1.2", "--unit", "head", "--unit", "neuron"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    plan = parse_plan((tmp_path / "best" / "plan.json").read_text())
    model = load(ModelSpec(pretrained=str(tmp_path / "best" / "model"))).model
    assert structure_of(model.config).layers == plan.kept
    report = json.loads((tmp_path / run.JSON).read_text())
    assert report["target"]["best"]["reaches"] is True


@pytest.mark.usefixtures("instant")
def test_target_out_of_reach_says_the_best_found_and_exits_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*TINY, "--target-speedup", "50", "--unit", "head", "--steps", "2"]) == 1
    captured = capsys.readouterr()
    assert "50x was not reached; the best found is head=0.5: prefill" in captured.err
    assert json.loads(captured.out)["target"]["best"]["reaches"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prune", "heads=0.5"], "'heads=0.5' is no part of a pruning"),
        (["--prune", "head=much"], "'much' of head is no number"),
        (["--prune", "head=0.5,head=0.2"], "gives head twice"),
        (["--prune", "head=1.5"], "less than 1"),
        (["--prune", "bits=5"], "Input should be 4, 8, 16 or 32"),
        (["--prune", "head=0.5,kv_group=0.5"], "both take heads: give one"),
        (["--fraction", "0.5"], "--fraction and --granularity are of each other"),
        (["--level", "1"], "optimisation levels are of a pruned model: give --prune too"),
        (["--target-speedup", "0.5"], "greater than 1"),
        (["--corpus", "synthetic"], "shape:tiny has random weights"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_wrong_usage_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *TINY, *words)


def test_progress_says_what_is_measured_and_quiet_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # every step, and not one in five seconds
    monkeypatch.setattr(plain, "_INTERVAL_SECONDS", 0.0)
    # in a terminal too: what renders in a thread would be timed
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main([*TINY, "--prune", "head=0.5", "--attention"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("profile of shape:tiny (2 steps)\n")
    assert "timing: 6/6, " in said
    assert "decode, batch 1 [profile of shape:tiny 0/2, " in said
    assert "32 tokens [profile of shape:tiny 1/2, " in said
    assert "profile of shape:tiny: 2/2, " in said
    assert main([*TINY, "--quiet"]) == 0
    assert capsys.readouterr().err.startswith("# Profile of shape:tiny")


def test_unknown_shape_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "profile", "shape:125m", *QUICK)
    assert "unknown shape '125m'" in error
    assert "124m" in error


@pytest.mark.usefixtures("instant")
def test_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        for line in block.splitlines():
            assert main(shlex.split(line)[1:]) == 0
            assert ProfileReport.model_validate_json(capsys.readouterr().out)
