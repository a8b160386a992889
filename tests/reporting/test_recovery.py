"""Recovery in a report: what was lost, what was regained, and of which reference."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel_research.paired import paired_ratio
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting import report as write_report
from sentinel_research.reporting.recovery.comparisons import (
    against_full,
    against_random,
    without_full,
)
from sentinel_research.reporting.recovery.regained import AS_IS, SAME_BUDGET
from sentinel_research.reporting.recovery.results import RecoveryResult
from tests.reporting.recovery import (
    HALF,
    HEADS,
    after,
    before,
    found_in,
    nats,
    prune_spec,
    record_of,
    recovered,
    run_of,
)


def _pruned(cells: list[CellRecord]) -> RecoveryResult:
    (one,) = [result for result in found_in(cells).results if not result.is_dense]
    return one


def test_fraction_is_of_the_loss_in_nats_against_both_references() -> None:
    one = _pruned(run_of(2.0, [1.8, 1.8, 1.8], 3.0, [2.4, 2.5, 2.6]))
    as_is, same = one.regained
    assert (as_is.reference, same.reference) == (AS_IS, SAME_BUDGET)
    assert as_is.value == pytest.approx(0.5 / 1.0)
    assert same.value == pytest.approx(0.5 / 1.2)
    assert as_is.lost == pytest.approx(1.0)
    assert one.before is not None
    assert one.before.interval is None
    assert one.change is not None
    assert one.change.value == pytest.approx(-0.5)
    # a denominator without spread: Student's t of three ratios 0.6, 0.5, 0.4
    assert as_is.interval is not None
    assert as_is.interval.high == pytest.approx(0.5 + 4.30265 * 0.1 / 3**0.5, abs=1e-4)


def test_seeds_are_paired_with_the_control_of_the_same_seed() -> None:
    # control and recovery move together from seed to seed: only pairs see a constant fraction
    control = [1.8, 1.9, 2.0]
    shifted = [3.0 - 0.5 * (3.0 - one) for one in control]
    same = _pruned(run_of(2.0, control, 3.0, [*shifted])).regained[1]
    assert same.value == pytest.approx(0.5)
    assert same.interval is not None
    assert same.interval.high - same.interval.low < 1e-6
    mixed = _pruned(run_of(2.0, control[::-1], 3.0, [*shifted])).regained[1]
    assert mixed.interval is not None
    assert mixed.interval.high - mixed.interval.low > 0.3


def test_random_mask_and_training_are_one_repetition() -> None:
    masks = [prune_spec("random", 0.5, seed) for seed in (0, 1, 2)]
    starts, ends = nats(3.0, 3.4, 3.2), nats(2.5, 2.6, 2.7)
    cells = [before(math.exp(2.0)), *recovered(nats(1.9, 1.9, 1.9))]
    for seed, spec in enumerate(masks):
        cells += [before(starts[seed], spec), after(ends[seed], seed, spec)]
    one = _pruned(cells)
    assert [seed.before.value for seed in one.repetitions] == pytest.approx([3.0, 3.4, 3.2])
    assert one.num_asked == 3
    assert one.before is not None
    assert one.before.interval is not None
    gained, lost = [0.5, 0.8, 0.5], [1.0, 1.4, 1.2]
    expected = paired_ratio(gained, lost)
    assert expected is not None
    assert one.regained[0].interval == pytest.approx(expected)


def test_several_calibration_texts_are_one_value_of_their_seed() -> None:
    draws = [prune_spec("taylor", 0.5, calibration={"seed": seed}) for seed in (0, 1)]
    cells = [before(math.exp(2.0)), *recovered(nats(1.9, 1.9))]
    for start, spec in zip((3.0, 3.2), draws, strict=True):
        cells.append(before(math.exp(start), spec))
        for seed in (0, 1):
            cells.append(after(math.exp(start - 0.5 - 0.1 * seed), seed, spec))
    one = _pruned(cells)
    assert [seed.before.value for seed in one.repetitions] == pytest.approx([3.1, 3.1])
    assert [seed.after.value for seed in one.repetitions] == pytest.approx([2.6, 2.5])
    # the mean over what is left would be of another text
    cells[-1].evaluation = None
    assert [seed.seed for seed in _pruned(cells).repetitions] == [0]


def test_one_seed_has_a_fraction_and_no_interval() -> None:
    one = _pruned(run_of(2.0, [1.8], 3.0, [2.5]))
    assert one.regained[0].value == pytest.approx(0.5)
    assert one.regained[0].interval is None
    assert one.regained[0].reason == "one seed has no interval"


@pytest.mark.parametrize(
    ("dense", "reason"),
    [
        (3.1, "nothing was lost: the pruned model is 0.1000 nats per token better"),
        (2.9999, "nothing was lost that the documents can tell"),
    ],
    ids=["gain", "within the error over documents"],
)
def test_fraction_of_nothing_is_refused_with_the_reason(dense: float, reason: str) -> None:
    as_is = _pruned(run_of(dense, [1.8, 1.8, 1.8], 3.0, [2.4, 2.5, 2.6])).regained[0]
    assert as_is.value is None
    assert as_is.interval is None
    assert as_is.reason.startswith(reason)


def test_loss_that_seeds_cannot_tell_from_nothing_is_refused() -> None:
    # 0.5 on average, between -0.5 and 1.5
    same = _pruned(run_of(2.0, [3.5, 2.5, 1.5], 3.0, [2.4, 2.5, 2.6])).regained[1]
    assert same.value is None
    assert "cannot be told from 0 over 3 seeds" in same.reason


def test_accuracy_is_compared_in_its_own_unit_and_direction() -> None:
    cells = [
        before(0.8, metric="acc"),
        before(0.4, HALF, metric="acc"),
        *recovered([0.8, 0.8, 0.8], metric="acc"),
        *recovered([0.59, 0.6, 0.61], HALF, metric="acc"),
    ]
    found = found_in(cells)
    assert (found.scale.unit, found.scale.is_log) == ("acc", False)
    assert _pruned(cells).regained[0].value == pytest.approx(0.5)
    cells[0] = before(0.3, metric="acc")
    assert "nothing was lost" in _pruned(cells).regained[0].reason


def test_failed_seed_is_in_no_mean_and_is_listed(
    write: Callable[[RunRecord], Path],
) -> None:
    cells = run_of(2.0, [1.8, 1.8, 1.8], 3.0, [2.4, None, 2.6])
    cells[-2].recover = {"phases": [{"diverged": {"step": 4, "reason": "nan"}, "num_steps": 4}]}
    one = _pruned(cells)
    assert [seed.seed for seed in one.repetitions] == [0, 2]
    assert one.after is not None
    assert one.after.value == pytest.approx(2.5)
    text = write_report(write(record_of(cells, status="failed"))).markdown.read_text()
    assert "magnitude at 0.5, full: 1 seed not measured." in text
    assert "| magnitude at 0.5, full, seed 1 | **diverged at step 4** | killed |" in text
    assert "| 2 of 3 |" in text


def test_control_of_another_budget_is_not_taken() -> None:
    short = {"train": {"num_steps": 5}}
    cells = [
        before(math.exp(2.0)),
        before(math.exp(3.0), HALF),
        *recovered(nats(1.8, 1.8)),
        *recovered(nats(2.4, 2.5), HALF, recovery="short", **short),
    ]
    same = _pruned(cells).regained[1]
    assert same.reason == "no seed has both the recovery and the reference"
    cells += recovered(nats(1.9, 1.9), recovery="full-short", **short)
    assert _pruned(cells).regained[1].lost == pytest.approx(1.1)


def test_best_of_several_controls_of_the_same_budget_is_taken() -> None:
    """A rate that harms the dense model would flatter what was recovered at it."""
    fast = {"train": {"learning_rate": 0.1}}
    cells = [
        before(math.exp(2.0)),
        before(math.exp(3.0), HALF),
        *recovered(nats(1.8, 1.8)),
        *recovered(nats(2.6, 2.6), recovery="full-fast", **fast),
        *recovered(nats(2.4, 2.4), HALF, recovery="fast", **fast),
    ]
    assert _pruned(cells).regained[1].lost == pytest.approx(1.2)
    # one seed of an even better one is no control of two
    cells += recovered(nats(1.0), recovery="full-other", train={"learning_rate": 0.2})
    assert _pruned(cells).regained[1].lost == pytest.approx(1.2)


def test_dense_model_that_lost_quality_by_its_method_is_no_control() -> None:
    cells = [
        before(math.exp(2.0)),
        before(math.exp(3.0), HALF),
        *recovered(nats(1.8, 1.8)),
        *recovered(nats(2.2, 2.2), recovery="rounded", methods={"quantise": {"bits": 2}}),
        *recovered(nats(2.4, 2.5), HALF),
    ]
    assert _pruned(cells).regained[1].lost == pytest.approx(1.2)
    dense = [one.name for one in found_in(cells).results if one.is_dense]
    assert dense == ["dense model, full", "dense model, rounded"]


def test_methods_are_tested_against_full_on_the_same_budget_only() -> None:
    cells = [
        before(math.exp(2.0)),
        before(math.exp(3.0), HALF),
        *recovered(nats(2.40, 2.50, 2.61), HALF),
        *recovered(nats(2.50, 2.61, 2.71), HALF, recovery="heads", methods=HEADS),
        # another rate is the same budget, another number of steps is not
        *recovered(
            nats(2.30, 2.39, 2.50),
            HALF,
            recovery="fast",
            methods=HEADS,
            train={"learning_rate": 0.1},
        ),
        *recovered(
            nats(2.0, 2.1, 2.2), HALF, recovery="long", methods=HEADS, train={"num_steps": 20}
        ),
    ]
    found = found_in(cells)
    slow, fast = against_full(found)
    assert (slow.recovery, slow.against, slow.difference.verdict) == ("heads", "full", "worse")
    assert (fast.recovery, fast.difference.verdict) == ("fast", "better")
    assert slow.difference.test is not None
    assert slow.difference.p_adjusted is not None
    assert slow.difference.p_adjusted > slow.difference.test.p_value
    assert without_full(found) == ["long"]


def test_criteria_are_tested_against_random_masks_recovered_in_the_same_way() -> None:
    cells = [before(math.exp(2.0)), before(math.exp(3.0), HALF)]
    cells += recovered(nats(2.40, 2.50, 2.61), HALF)
    cells += recovered(nats(2.0, 2.0, 2.0), HALF, recovery="heads", methods=HEADS)
    for seed, value in enumerate(nats(2.60, 2.71, 2.80)):
        spec = prune_spec("random", 0.5, seed)
        cells += [before(math.exp(3.1), spec), after(value, seed, spec)]
    (one,) = against_random(found_in(cells))
    assert (one.scorer, one.recovery, one.against) == ("magnitude", "full", "random")
    assert one.difference.verdict == "better"
