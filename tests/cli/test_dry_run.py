"""`sentinel run --dry-run`: what a run would do, without doing it."""

from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.dry_run import dry_run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY

# where the finished run is
pytestmark = pytest.mark.xdist_group("run")


def test_dry_run_shows_origins_counts_and_tasks_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [word for override in TINY for word in ("--set", override)]
    assert main(["run", "demo", "--dry-run", *overrides]) == 0
    shown = capsys.readouterr().out
    assert "tasks found: sentinel_synthetic" in shown
    assert "models to evaluate: 4" in shown
    assert "gate_gradient-0.5: 4 of 8 heads" in shown
    assert any("--set" in line and "evaluate.limit" in line for line in shown.splitlines())
    assert any("default" in line and "model.dtype" in line for line in shown.splitlines())
    assert not list(tmp_path.iterdir())


def test_dry_run_counts_every_kind_of_unit_and_names_those_of_a_trained_model(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["train=null", f"model={{pretrained: {finished / 'model'}}}"]
    kinds = "prune.granularity=[head, neuron]"
    shown = dry_run(load_recipe("demo", [*TINY, *changes, kinds]).recipe).text
    (line,) = (line for line in shown.splitlines() if "gate_gradient-0.5:" in line)
    assert "4 of 8 heads, 64 of 128 neurons, parameters" in line
    assert "L0H" in line
    assert line.endswith("and 52 more")
    layers = dry_run(load_recipe("demo", [*TINY, "prune.granularity=layer"]).recipe).text
    assert "1 of 2 attention blocks, 1 of 2 feed-forward blocks" in layers
    assert "which ones is known after training" in layers


def test_dry_run_gives_a_failing_pruning_a_line_and_the_exit_code_of_the_run(
    finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    changes = ["train=null", f"model={{pretrained: {finished / 'model'}}}"]
    changes += ["prune.granularity=layer", "prune.fractions=[0.5, 1.0]", "prune.scorers=[random]"]
    changes += ["prune.seeds=[0]", "prune.calibration=null", "evaluate.limit=1"]
    words = ["run", "demo", "--output", str(tmp_path), "--quiet"]
    words += [word for override in [*TINY, *changes] for word in ("--set", override)]
    assert main([*words, "--dry-run"]) == 1
    half, whole = capsys.readouterr().out.splitlines()[-2:]
    assert "random-0.5-seed0: 4 of 8 heads" in half
    assert whole.startswith("  random-1-seed0: failed: ")
    assert main(words) == 1
    assert RunRecord.read(tmp_path).cell("random-1-seed0").status == "failed"


def test_dry_run_says_what_was_asked_for_and_not_reached(finished: Path) -> None:
    changes = ["train=null", f"model={{pretrained: {finished / 'model'}}}"]
    changes += ["prune.scorers=[magnitude_l2]", "prune.fractions=[0.5, 0.9, 1.0]"]
    text = dry_run(load_recipe("demo", [*TINY, *changes]).recipe).text
    half, most, all_ = text.splitlines()[-3:]
    assert "asked for" not in half
    assert "0.9 of the units was asked for, 0.75 was removed (rounded down to whole" in most
    assert "1 of the units was asked for, 0.75 was removed (min_per_layer 1 keeps" in all_
