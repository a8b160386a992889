"""Recovery in a report: what was lost, what was regained, and of which reference."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel_research.paired import paired_ratio
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting import report as write_report
from sentinel_research.reporting import summary
from sentinel_research.reporting.recovery.claim import check_claim, claim_in_words
from sentinel_research.reporting.recovery.comparisons import (
    against_full,
    against_random,
    without_full,
)
from sentinel_research.reporting.recovery.regained import AS_IS, SAME_BUDGET
from sentinel_research.reporting.recovery.results import (
    RecoveryResult,
    TaskRecoveries,
    task_recoveries,
)
from tests.reporting.recovery import (
    HEADS,
    TASK,
    after,
    before,
    prune_spec,
    record_of,
    recovered,
)

HALF = prune_spec("magnitude", 0.5)


def _found(cells: list[CellRecord]) -> TaskRecoveries:
    found = task_recoveries(record_of(cells), TASK)
    assert found is not None
    return found


def _pruned(cells: list[CellRecord]) -> RecoveryResult:
    (one,) = [result for result in _found(cells).results if not result.is_dense]
    return one


def _nats(*losses: float) -> list[float]:
    return [math.exp(loss) for loss in losses]


def _run(
    dense: float, control: list[float], pruned: float, regained: list[float | None]
) -> list[CellRecord]:
    """Dense, its control, a pruning and its recovery, all in nats."""
    values = [None if one is None else math.exp(one) for one in regained]
    return [
        before(math.exp(dense)),
        before(math.exp(pruned), HALF),
        *recovered(_nats(*control)),
        *recovered(values, HALF),
    ]


def test_fraction_is_of_the_loss_in_nats_against_both_references() -> None:
    one = _pruned(_run(2.0, [1.8, 1.8, 1.8], 3.0, [2.4, 2.5, 2.6]))
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
    same = _pruned(_run(2.0, control, 3.0, [*shifted])).regained[1]
    assert same.value == pytest.approx(0.5)
    assert same.interval is not None
    assert same.interval.high - same.interval.low < 1e-6
    mixed = _pruned(_run(2.0, control[::-1], 3.0, [*shifted])).regained[1]
    assert mixed.interval is not None
    assert mixed.interval.high - mixed.interval.low > 0.3


def test_random_mask_and_training_are_one_repetition() -> None:
    masks = [prune_spec("random", 0.5, seed) for seed in (0, 1, 2)]
    starts, ends = _nats(3.0, 3.4, 3.2), _nats(2.5, 2.6, 2.7)
    cells = [before(math.exp(2.0)), *recovered(_nats(1.9, 1.9, 1.9))]
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
    cells = [before(math.exp(2.0)), *recovered(_nats(1.9, 1.9))]
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
    one = _pruned(_run(2.0, [1.8], 3.0, [2.5]))
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
    as_is = _pruned(_run(dense, [1.8, 1.8, 1.8], 3.0, [2.4, 2.5, 2.6])).regained[0]
    assert as_is.value is None
    assert as_is.interval is None
    assert as_is.reason.startswith(reason)


def test_loss_that_seeds_cannot_tell_from_nothing_is_refused() -> None:
    # 0.5 on average, between -0.5 and 1.5
    same = _pruned(_run(2.0, [3.5, 2.5, 1.5], 3.0, [2.4, 2.5, 2.6])).regained[1]
    assert same.value is None
    assert "cannot be told from 0 over 3 seeds" in same.reason


def test_accuracy_is_compared_in_its_own_unit_and_direction() -> None:
    cells = [
        before(0.8, metric="acc"),
        before(0.4, HALF, metric="acc"),
        *recovered([0.8, 0.8, 0.8], metric="acc"),
        *recovered([0.59, 0.6, 0.61], HALF, metric="acc"),
    ]
    found = _found(cells)
    assert (found.scale.unit, found.scale.is_log) == ("acc", False)
    assert _pruned(cells).regained[0].value == pytest.approx(0.5)
    cells[0] = before(0.3, metric="acc")
    assert "nothing was lost" in _pruned(cells).regained[0].reason


def test_failed_seed_is_in_no_mean_and_is_listed(
    write: Callable[[RunRecord], Path],
) -> None:
    cells = _run(2.0, [1.8, 1.8, 1.8], 3.0, [2.4, None, 2.6])
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
        *recovered(_nats(1.8, 1.8)),
        *recovered(_nats(2.4, 2.5), HALF, recovery="short", **short),
    ]
    same = _pruned(cells).regained[1]
    assert same.reason == "no seed has both the recovery and the reference"
    cells += recovered(_nats(1.9, 1.9), recovery="full-short", **short)
    assert _pruned(cells).regained[1].lost == pytest.approx(1.1)


def test_dense_model_that_lost_quality_by_its_method_is_no_control() -> None:
    cells = [
        before(math.exp(2.0)),
        before(math.exp(3.0), HALF),
        *recovered(_nats(1.8, 1.8)),
        *recovered(_nats(2.2, 2.2), recovery="rounded", methods={"quantise": {"bits": 2}}),
        *recovered(_nats(2.4, 2.5), HALF),
    ]
    assert _pruned(cells).regained[1].lost == pytest.approx(1.2)
    dense = [one.name for one in _found(cells).results if one.is_dense]
    assert dense == ["dense model, full", "dense model, rounded"]


def test_methods_are_tested_against_full_on_the_same_budget_only() -> None:
    cells = [
        before(math.exp(2.0)),
        before(math.exp(3.0), HALF),
        *recovered(_nats(2.40, 2.50, 2.61), HALF),
        *recovered(_nats(2.50, 2.61, 2.71), HALF, recovery="heads", methods=HEADS),
        # another rate is the same budget, another number of steps is not
        *recovered(
            _nats(2.30, 2.39, 2.50),
            HALF,
            recovery="fast",
            methods=HEADS,
            train={"learning_rate": 0.1},
        ),
        *recovered(
            _nats(2.0, 2.1, 2.2), HALF, recovery="long", methods=HEADS, train={"num_steps": 20}
        ),
    ]
    found = _found(cells)
    slow, fast = against_full(found)
    assert (slow.recovery, slow.against, slow.difference.verdict) == ("heads", "full", "worse")
    assert (fast.recovery, fast.difference.verdict) == ("fast", "better")
    assert slow.difference.test is not None
    assert slow.difference.p_adjusted is not None
    assert slow.difference.p_adjusted > slow.difference.test.p_value
    assert without_full(found) == ["long"]


def test_criteria_are_tested_against_random_masks_recovered_in_the_same_way() -> None:
    cells = [before(math.exp(2.0)), before(math.exp(3.0), HALF)]
    cells += recovered(_nats(2.40, 2.50, 2.61), HALF)
    cells += recovered(_nats(2.0, 2.0, 2.0), HALF, recovery="heads", methods=HEADS)
    for seed, value in enumerate(_nats(2.60, 2.71, 2.80)):
        spec = prune_spec("random", 0.5, seed)
        cells += [before(math.exp(3.1), spec), after(value, seed, spec)]
    (one,) = against_random(_found(cells))
    assert (one.scorer, one.recovery, one.against) == ("magnitude", "full", "random")
    assert one.difference.verdict == "better"


@pytest.mark.parametrize(
    ("regained", "answer", "words"),
    [
        ([2.05, 2.06, 2.05], "true", "the claim holds."),
        ([2.40, 2.50, 2.60], "false", "the claim does not hold."),
        ([1.9, 2.05, 2.15], "open", "the run cannot decide it."),
        ([2.05], "open", "the run cannot decide it."),
    ],
    ids=["nearly all", "half", "interval on both sides", "one seed"],
)
def test_claim_is_answered_by_the_whole_interval(
    regained: list[float | None], answer: str, words: str
) -> None:
    claim = check_claim(_found(_run(2.0, [2.0, 2.0, 2.0], 3.0, regained)))
    assert claim is not None
    assert {case.answer for case in claim.cases} == {answer}
    assert words in claim_in_words(claim)[1]


def test_claim_names_the_fraction_that_it_is_answered_at() -> None:
    far = prune_spec("magnitude", 0.25)
    cells = [before(7.0), before(20.0, far), *recovered([8.0, 8.1], far)]
    claim = check_claim(_found(cells))
    assert claim is not None
    assert claim.fraction == 0.25
    assert "The nearest fraction of this run is 0.25" in claim_in_words(claim)[0]


def test_report_has_numbers_in_all_its_forms(write: Callable[[RunRecord], Path]) -> None:
    cells = _run(2.0, [1.8, 1.81, 1.8], 3.0, [2.4, 2.5, 2.6])
    folder = write(record_of(cells))
    files = write_report(folder)
    numbers = json.loads(files.json.read_text())["recovery"]
    assert set(numbers) == {
        f"results-{TASK}",
        f"claim-{TASK}",
        f"against-full-{TASK}",
        f"against-random-{TASK}",
        "costs",
    }
    dense, pruned = numbers[f"results-{TASK}"]["rows"]
    assert numbers[f"results-{TASK}"]["unit"] == "nats per token"
    assert dense["regained"] == []
    assert pruned["regained"][0]["value"] == pytest.approx(0.5)
    assert [one["num_tokens"] for one in numbers["costs"]["rows"]] == [[320], [320]]
    html = files.html.read_text()
    assert "<h2>Recovery</h2>" in html
    assert (folder / "recovery_toy_task.svg").exists()
    assert (folder / "recovery_losses.svg").exists()
    lines = summary(record_of(cells)).splitlines()
    assert any("0.25 to 0.75" in line for line in lines)
    assert any("against the dense model as it is: the claim does not hold." in one for one in lines)


def test_run_without_recovery_has_no_recovery_section(
    make_record: Callable[..., RunRecord],
    cells: list[CellRecord],
    write: Callable[[RunRecord], Path],
) -> None:
    files = write_report(write(make_record(cells)))
    assert "Recovery" not in files.html.read_text()
    assert json.loads(files.json.read_text())["recovery"] == {}


def test_recovered_models_enter_no_other_section(write: Callable[[RunRecord], Path]) -> None:
    """Whatever they measured, the sections about pruning say the same."""
    criterion, random = prune_spec("magnitude", 0.5), prune_spec("random", 0.5, 1)
    cells = [before(7.0), before(20.0, criterion)]
    for seed, value in enumerate((25.0, 30.0, 28.0)):
        cells.append(before(value, prune_spec("random", 0.5, seed)))
    for cell in cells[1:]:
        cell.prune = {
            "plan": {"scores": {"head": [[1.0, 2.0]]}},
            "removed": {"head": ["L0H0"]},
            "num_removed": {"head": 1},
        }
    more = [*recovered([1.0, 1.0], criterion), after(1.0, 1, random), *recovered([1.0, 1.0])]
    for cell in more:
        cell.prune = {"plan": {"scores": {"head": [[5.0, 1.0]]}}, "removed": {"head": ["L0H1"]}}
    plain = _numbers(write, record_of(cells))
    assert _numbers(write, record_of([*cells, *more])) == plain
    (row,) = plain["tasks"][TASK]["against_random"]["rows"]
    assert row["value"] == 20.0


def _numbers(write: Callable[[RunRecord], Path], record: RunRecord) -> dict[str, object]:
    content = json.loads(write_report(write(record)).json.read_text())
    del content["recovery"]
    return dict(content)
