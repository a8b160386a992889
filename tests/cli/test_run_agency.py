"""`sentinel run` with `model.agency`: trained, stored, pruned, measured, and loaded again."""

from pathlib import Path

import pytest

from sentinel_research.dry_run import dry_run
from sentinel_research.errors import UsageError
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from tests.cli.conftest import TINY

# where the finished run is
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("run")]
_ONE = [*TINY, "prune.seeds=[0]", "evaluate.limit=2"]


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with everything that agency has, beside the finished one."""
    agency = (
        "model.agency={gate: hard_concrete, l0_penalty: 0.01, skips: true, "
        f"baseline: {finished / 'model'}, policy: {{every: 4, num_sequences: 2}}}}"
    )
    target = tmp_path_factory.mktemp("agency")
    run(load_recipe("demo", [*_ONE, agency]).recipe, target)
    return target


def test_recipe_with_agency_is_trained_pruned_and_measured(folder: Path, finished: Path) -> None:
    record, plain = RunRecord.read(folder), RunRecord.read(finished)
    assert record.status == "done", [cell.error for cell in record.cells]
    assert record.load["model_type"] == "agency_gpt2"
    assert record.load["agency"] == record.train["agency"]
    assert record.load["agency"]["spec"]["l0_penalty"] == 0.01
    assert sum(record.load["agency"]["num_heads"].values()) == 8
    # a gate of one parameter goes with each of the 4 heads
    removed = [
        report["num_parameters_before"] - report["num_parameters_after"]
        for one in (record, plain)
        if (report := one.cell("gate_gradient-0.5").prune)
    ]
    assert removed[0] == removed[1] + 4


def test_dry_run_counts_the_parameters_of_agency() -> None:
    plain, gated = (
        dry_run(load_recipe("demo", [*_ONE, *changes]).recipe).text
        for changes in ([], ["model.agency={gate: static}"])
    )
    counts = [int(t.split("dense: ")[1].split()[0].replace(",", "")) for t in (plain, gated)]
    assert counts[1] == counts[0] + 8


def test_stored_agency_is_not_added_twice(folder: Path) -> None:
    changes = [f"model={{pretrained: {folder / 'model'}, agency: {{}}}}", "train=null"]
    with pytest.raises(UsageError, match="has agency already") as caught:
        dry_run(load_recipe("demo", [*_ONE, *changes]).recipe)
    assert "leave `model.agency` out" in caught.value.hint


def test_policy_without_a_gate_names_the_key() -> None:
    with pytest.raises(UsageError, match="acts through gates"):
        load_recipe("demo", ["model.agency={gate: null, skips: true, policy: {}}"])
