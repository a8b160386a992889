"""`sentinel run` with `recover`: trained back beside its controls, checked, and reported."""

import json
from pathlib import Path

import pytest

from sentinel_research.budgets import NAME
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from tests.cli.conftest import TINY

# where the finished run is
pytestmark = pytest.mark.xdist_group("run")
_TRAIN = "{corpus: synthetic, num_steps: 2, sequence_length: 32, batch_size: 2}"


def test_recovered_run_is_checked_and_reported_and_resumes_without_a_second_check(
    finished: Path, tmp_path: Path
) -> None:
    changes = [
        f"model={{pretrained: {finished / 'model'}}}",
        "train=null",
        "prune.scorers=[random]",
        "prune.seeds=[0]",
        "evaluate.limit=2",
        f"recover={{train: {_TRAIN}}}",
    ]
    recipe = load_recipe("demo", [*TINY, *changes]).recipe
    record = run(recipe, tmp_path)
    assert [cell.id for cell in record.cells] == [
        "dense",
        "random-0.5-seed0",
        "dense+full-seed0",
        "random-0.5-seed0+full",
    ]
    checks = {check.name: check for check in record.checks}
    assert checks["recovery shares no document with sentinel_synthetic"].passed
    assert checks[NAME].passed
    assert checks[NAME].detail.startswith("2 trainings: 124 tokens of ")
    numbers = json.loads((tmp_path / "report.json").read_text())["recovery"]
    rows = numbers["results-sentinel_synthetic"]["rows"]
    assert [(row["scorer"], row["recovery"]) for row in rows] == [
        ("dense", "full"),
        ("random", "full"),
    ]
    again = run(recipe, tmp_path)
    assert [check.name for check in again.checks] == [check.name for check in record.checks]
