"""`sentinel run` with `recover`: trained back beside its controls, checked, and reported."""

import json
from pathlib import Path

import pytest

from sentinel_research.budgets import NAME
from sentinel_research.dry_run import dry_run
from sentinel_research.errors import SentinelError
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from sentinel_research.specs import Recipe
from tests.cli.conftest import TINY

# where the finished run is
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("run")]
_TRAIN = "{corpus: synthetic, num_steps: 2, sequence_length: 32, batch_size: 2}"


def _recipe(finished: Path, *changes: str) -> Recipe:
    small = [
        f"model={{pretrained: {finished / 'model'}}}",
        "train=null",
        "prune.scorers=[random]",
        "prune.seeds=[0]",
        "evaluate.limit=2",
        f"recover={{train: {_TRAIN}}}",
    ]
    return load_recipe("demo", [*TINY, *small, *changes]).recipe


def test_recovered_run_is_checked_and_reported_and_resumes_without_a_second_check(
    finished: Path, tmp_path: Path
) -> None:
    recipe = _recipe(finished)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_size=40000", "fewer than one batch of 40000"),
        ("corpus=nothing", "unknown corpus 'nothing'"),
        ("sequence_length=4000", "longer than the model's context"),
    ],
)
def test_recovery_that_cannot_train_is_refused_before_anything_is_measured(
    change: str, message: str, finished: Path, tmp_path: Path
) -> None:
    recipe = _recipe(finished, f"recover.train.{change}")
    with pytest.raises(SentinelError, match=message):
        dry_run(recipe)
    with pytest.raises(SentinelError, match=message):
        run(recipe, tmp_path)
    assert not any(cell.prune or cell.evaluation for cell in RunRecord.read(tmp_path).cells)
