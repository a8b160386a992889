"""Recovery in a report: the claim, and the section in all its forms."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting import report as write_report
from sentinel_research.reporting import summary
from sentinel_research.reporting.recovery.claim import check_claim, claim_in_words
from tests.reporting.recovery import (
    TASK,
    after,
    before,
    found_in,
    prune_spec,
    record_of,
    recovered,
    run_of,
)


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
    claim = check_claim(found_in(run_of(2.0, [2.0, 2.0, 2.0], 3.0, regained)))
    assert claim is not None
    assert {case.answer for case in claim.cases} == {answer}
    assert words in claim_in_words(claim)[1]


def test_claim_names_the_fraction_that_it_is_answered_at() -> None:
    far = prune_spec("magnitude", 0.25)
    cells = [before(7.0), before(20.0, far), *recovered([8.0, 8.1], far)]
    claim = check_claim(found_in(cells))
    assert claim is not None
    assert claim.fraction == 0.25
    assert "The nearest fraction of this run is 0.25" in claim_in_words(claim)[0]


def test_report_has_numbers_in_all_its_forms(write: Callable[[RunRecord], Path]) -> None:
    cells = run_of(2.0, [1.8, 1.81, 1.8], 3.0, [2.4, 2.5, 2.6])
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
