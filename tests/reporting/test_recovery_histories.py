"""Curves, costs, texts and the budgets of recoveries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.budgets import check_budgets
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting import report as write_report
from sentinel_research.reporting.recovery.costs import list_costs
from sentinel_research.reporting.recovery.histories import draw_losses, draw_masks, loss_curves
from sentinel_research.reporting.recovery.samples import list_samples
from tests.reporting.recovery import after, before, prune_spec, record_of, recovered, report

HALF = prune_spec("magnitude", 0.5)


def _phased(**second: Any) -> CellRecord:
    """Six steps of 32 tokens, then two of 64."""
    cell = after(8.0, 0, HALF, recovery="progressive")
    first = report(6)
    phase = report(2, num_tokens=128, **second)["phases"][0]
    cell.recover = first | {"phases": [*first["phases"], phase]}
    return cell


def test_losses_of_phases_follow_one_another_by_tokens() -> None:
    curve = loss_curves(_phased(), "losses")
    assert curve.tokens == [32.0, 192.0, 256.0, 320.0]
    assert curve.losses == [3.0, 2.0, 3.0, 2.0]
    assert loss_curves(_phased(), "validation").tokens == [192.0, 320.0]


def test_every_cell_has_its_training_and_validation_line() -> None:
    cells = [before(7.0), before(20.0, HALF), *recovered([8.0, 8.1], HALF)]
    figure = draw_losses(record_of(cells), ["full"], False)
    assert figure is not None
    for seed in (0, 1):
        line = f"recovery_losses-magnitude-0.5-seed0_full-seed{seed}"
        assert f'id="{line}"' in figure.svg
        assert f'id="{line}_validation"' in figure.svg
    assert "magnitude at 0.5, full, seed 1: 3.000 to 2.000" in figure.description


def test_figure_of_losses_is_absent_where_none_was_recorded() -> None:
    cell = after(8.0, 0, HALF)
    cell.recover = None
    assert draw_losses(record_of([cell]), ["full"], False) is None


def test_masks_are_drawn_where_a_method_recorded_them() -> None:
    cell = after(8.0, 0, HALF, recovery="gradual")
    assert draw_masks(record_of([cell]), ["gradual"], False) is None
    assert cell.recover is not None
    cell.recover = {**cell.recover, "masks": [{"step": 0, "fraction": 0.1, "heads": []}]}
    cell.recover["masks"].append({"step": 9, "fraction": 0.5})
    figure = draw_masks(record_of([cell]), ["gradual"], False)
    assert figure is not None
    assert "0.1 at step 0 to 0.5 at step 9" in figure.description


def test_texts_are_shown_of_the_first_seed_and_kept_of_all(
    write: Callable[[RunRecord], Path],
) -> None:
    cells = [before(7.0), *recovered([8.0, 8.1], HALF)]
    for cell in cells[1:]:
        cell.recover = report(samples=[{"step": 5, "prompt": "Once", "text": f"upon {cell.id}"}])
    record = record_of(cells)
    assert [one.text for one in list_samples(record)] == [f"upon {cell.id}" for cell in cells[1:]]
    text = write_report(write(record)).markdown.read_text()
    assert "| whole | 5 | Once | upon magnitude-0.5-seed0+full-seed0 |" in text
    assert "upon magnitude-0.5-seed0+full-seed1" not in text
    assert "1 of 2 texts, of the first seed" in text


def test_costs_add_phases_and_leave_out_what_diverged() -> None:
    diverged = after(None, 1, HALF, recovery="progressive")
    diverged.recover = report(3, diverged={"step": 3, "reason": "nan"})
    (cost,) = list_costs(record_of([_phased(num_trained_parameters=700), diverged]))
    assert (cost.num_cells, cost.num_steps, cost.num_tokens) == (1, (8,), (320,))
    assert cost.num_trained_parameters == (700,)
    assert cost.seconds == (4.0,)


def test_budgets_are_equal_up_to_the_rounding_of_phases() -> None:
    whole = after(8.0, 0, HALF)
    assert check_budgets(record_of([whole, _phased()])).passed
    rounded = _phased()
    assert rounded.recover is not None
    # one step of the second phase more than asked for
    rounded.recover["phases"][1] |= {"num_steps": 3, "num_tokens": 192}
    assert check_budgets(record_of([whole, rounded])).passed
    rounded.recover["phases"][1] |= {"num_steps": 5, "num_tokens": 320}
    check = check_budgets(record_of([whole, rounded]))
    assert not check.passed
    assert "progressive-seed0 saw 512 tokens of 320" in check.detail


@pytest.mark.parametrize(("patience", "passed"), [(2, True), (None, False)])
def test_training_that_stopped_early_spent_its_budget_only_with_patience(
    patience: int | None, passed: bool
) -> None:
    cell = after(8.0, 0, HALF, train={"patience": patience})
    # one step less: only phases are rounded
    cell.recover = report(9)
    assert check_budgets(record_of([cell])).passed is passed


def test_recoveries_of_other_blocks_are_not_comparable() -> None:
    cells = recovered([8.0, 8.1], HALF)
    cells[1].recover = report() | {"data": {"blocks_sha256": "d" * 64}}
    check = check_budgets(record_of(cells))
    assert not check.passed
    assert "blocks differ: cccccccccccc, dddddddddddd" in check.detail
