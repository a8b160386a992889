"""From which fraction on a task is lost, on answers that were made to be lost there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel_research.specs import JudgementSpec, StudySpec
from sentinel_research.studies import run_study
from sentinel_research.studies.break_points import half_loss_at
from sentinel_research.studies.schema import BreakPoint, BreakPoints
from tests.studies.runs import pruning, right, write_prunings

SPEC = StudySpec(kind="break_points", judgement=JudgementSpec(num_resamples=999))
FRACTIONS = (0.2, 0.4, 0.6)


def _points(folder: Path, dense: float, shares: list[float], **options: Any) -> list[BreakPoint]:
    cells: dict[str, Any] = {"dense": (None, {"toy": right(dense)})}
    for fraction, share in zip(FRACTIONS, shares, strict=True):
        cells[f"taylor-{fraction}"] = pruning("taylor", fraction), {"toy": right(share)}
    record = write_prunings(folder, cells, **options)
    return BreakPoints.model_validate(run_study(SPEC, record, folder)).points


def test_task_breaks_where_every_larger_fraction_is_worse(tmp_path: Path) -> None:
    (point,) = _points(tmp_path, 0.95, [0.94, 0.6, 0.25])
    assert point.breaks_at == 0.4
    assert [at.finding.verdict for at in point.fractions] == [
        "no difference found",
        "worse",
        "worse",
    ]


def test_fraction_that_is_worse_before_one_that_is_not_is_no_break(tmp_path: Path) -> None:
    (point,) = _points(tmp_path, 0.95, [0.5, 0.94, 0.5])
    assert point.breaks_at == 0.6


def test_task_that_is_never_lost_breaks_never(tmp_path: Path) -> None:
    (point,) = _points(tmp_path, 0.95, [0.94, 0.94, 0.94])
    assert point.breaks_at is None
    assert point.half_loss is not None
    assert point.half_loss.value is None
    assert point.reason == ""


def test_half_of_the_advantage_is_lost_between_measured_fractions(tmp_path: Path) -> None:
    # 0.25 is a guess: 0.70 of advantage, 0.35 is half, half way from 0.45 to 0.25
    (point,) = _points(tmp_path, 0.95, [0.95, 0.70, 0.50])
    assert point.chance == 0.25
    assert point.half_loss is not None
    # 0.6 is 10 points of 20 beyond 0.4: (0.70 - 0.60) / (0.70 - 0.50)
    assert point.half_loss.value == pytest.approx(0.5)
    assert point.half_loss.low is not None
    assert point.half_loss.low < 0.5
    assert [at.retained for at in point.fractions] == pytest.approx([1.0, 9 / 14, 5 / 14])


def test_task_at_chance_has_no_half_to_lose(tmp_path: Path) -> None:
    (point,) = _points(tmp_path, 0.28, [0.2, 0.3, 0.25])
    assert point.is_above_chance is False
    assert point.half_loss is None
    assert point.reason == "not above chance to begin with"


def test_tasks_are_ordered_by_where_half_is_lost_and_masks_are_criteria_of_their_own(
    tmp_path: Path,
) -> None:
    late, soon, never = (
        dict(zip((0.0, *FRACTIONS), shares, strict=True))
        for shares in ([0.9, 0.9, 0.9, 0.3], [0.9, 0.3, 0.3, 0.3], [0.26, 0.3, 0.3, 0.3])
    )
    tasks = {"none": never, "late": late, "soon": soon}

    def answers(fraction: float) -> dict[str, list[float]]:
        return {name: right(shares[fraction]) for name, shares in tasks.items()}

    cells: dict[str, Any] = {"dense": (None, answers(0.0))}
    for fraction in FRACTIONS:
        for seed in (0, 1):
            spec = pruning("random", fraction, seed=seed)
            cells[f"random-{fraction}-{seed}"] = spec, answers(fraction)
    record = write_prunings(tmp_path, cells)
    found = BreakPoints.model_validate(run_study(SPEC, record, tmp_path)).points
    assert [(one.criterion, one.task) for one in found] == [
        (f"random, seed {seed}", task) for seed in (0, 1) for task in ("soon", "late", "none")
    ]


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=6))
def test_interpolated_half_lies_between_the_fractions_around_it(lost: list[float]) -> None:
    retained = np.array([[1.0, *lost]])
    fractions = np.linspace(0, 0.9, len(lost) + 1)
    (found,) = half_loss_at(fractions, retained)
    below = np.flatnonzero(retained[0] <= 0.5)
    if len(below) == 0:
        assert found == np.inf
    else:
        # the rounding of one product
        assert fractions[below[0] - 1] - 1e-12 <= found <= fractions[below[0]] + 1e-12
