"""Plans that were made for another model against native ones and random masks."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.reporting.page import build_page
from sentinel_research.specs import StudySpec
from sentinel_research.studies import run_study
from sentinel_research.studies.schema import Transfer
from tests.studies.runs import pruning, right, write_prunings

SPEC = StudySpec(kind="transfer")


def test_moved_plan_is_compared_with_the_native_one_and_with_random_masks(tmp_path: Path) -> None:
    cells: dict[str, Any] = {
        "dense": (None, {"toy": right(0.95)}),
        "native": (pruning("taylor", 0.5, variant="native"), {"toy": right(0.9)}),
        "moved": (
            pruning("taylor", 0.5, variant="moved", transfer_from="larger"),
            {"toy": right(0.6)},
        ),
    }
    for seed, share in enumerate((0.5, 0.55, 0.7)):
        spec = pruning("random", 0.5, seed=seed, variant="native")
        cells[f"random-{seed}"] = spec, {"toy": right(share)}
    # another fraction is no reference
    cells["random-less"] = pruning("random", 0.2, seed=0, variant="native"), {"toy": right(0.1)}
    record = write_prunings(tmp_path, cells)
    (plan,) = Transfer.model_validate(run_study(SPEC, record, tmp_path)).plans
    assert (plan.moved, plan.native, plan.made_for) == ("moved: taylor", "native: taylor", "larger")
    assert plan.finding is not None
    assert plan.finding.verdict == "worse"
    assert (plan.num_beaten, plan.num_random) == (2, 3)
    # twice (1 + 1 at least as good) / (1 + 3)
    assert plan.random_p == pytest.approx(1.0)
    record.recipe["study"] = SPEC.model_dump(mode="json")
    record.study = run_study(SPEC, record, tmp_path)
    (part,) = build_page(record).study
    assert part.table is not None
    assert [cell.text for cell in part.table.rows[0][2:5]] == ["larger", "native: taylor", "0.5"]
