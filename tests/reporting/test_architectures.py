"""Compared architectures in a report: means over seeds, paired differences, nothing left out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.record import Arm, CellRecord, EvaluationReport, Measurement, RunRecord
from sentinel_research.reporting import report, summary
from sentinel_research.reporting.architectures.results import TaskResults, task_results
from sentinel_research.statistics import mean_interval
from tests.reporting.conftest import TASK, MakeRecord

SEEDS = [0, 1, 2]


def _cell(name: str, seed: int | None, value: float | None, **arm: Any) -> CellRecord:
    evaluation = None
    if value is not None:
        one = Measurement(
            task=TASK, metric="bits_per_byte", value=value, stderr=0.1, higher_is_better=False
        )
        other = one.model_copy(update={"metric": "token_perplexity", "value": 2**value})
        evaluation = EvaluationReport(
            measurements=[other, one],
            task_hashes={TASK: "ab"},
            num_documents={TASK: 5},
            max_length=8,
            seconds=1.0,
            lm_eval={},
        )
    rate = None if seed is None else arm.pop("rate", 0.01)
    end = f"-lr{rate}" if arm else ""
    return CellRecord(
        id=f"{name}-{seed}{end}",
        status="done" if value is not None or arm else "failed",
        prune_spec=None,
        arm=Arm(name=name, seed=seed, learning_rate=rate, **arm),
        train={"validation_loss": 1.0, "losses": [{"step": 1, "loss": 2.0}], "num_tokens": 7},
        evaluation=evaluation,
    )


@pytest.fixture
def compared(make_record: MakeRecord) -> Callable[..., RunRecord]:
    """Builds a record of architectures with a value per seed, beside one n-gram model."""

    def make(values: dict[str, list[float | None]], **more: Any) -> RunRecord:
        cells = [_cell("ngram2", None, 2.0)]
        for name, found in values.items():
            cells += [_cell(name, seed, value) for seed, value in zip(SEEDS, found, strict=True)]
        architectures = {name: {"architecture": "gpt2"} for name in values}
        model = {
            "architecture": "gpt2",
            "num_parameters": 20,
            "num_non_embedding": 10,
            "flops_per_token": 60.0,
            "deviation": 0.001,
            "config": {"n_embd": 4},
        }
        return make_record(
            [*cells, *more.pop("cells", [])],
            recipe={
                "compare": {
                    "architectures": architectures,
                    "seeds": SEEDS,
                    "control": more.pop("control", None),
                },
                "prune": None,
            },
            comparison={"models": dict.fromkeys(values, model), "learning_rates": {}, **more},
        )

    return make


def _results(record: RunRecord) -> TaskResults:
    found = task_results(record, TASK)
    assert found is not None
    return found


def test_mean_sd_and_interval_are_over_seeds(compared: Callable[..., RunRecord]) -> None:
    found = _results(compared({"a": [1.0, 1.2, 1.1]}))
    floor, result = found.results
    assert found.metric.name == "bits_per_byte"
    assert result.mean == pytest.approx(1.1)
    assert result.sd == pytest.approx(0.1)
    assert result.interval == mean_interval([1.0, 1.2, 1.1])
    assert (floor.name, floor.is_floor, floor.mean, floor.sd) == ("ngram2", True, 2.0, None)


def test_differences_are_paired_by_seed_and_corrected_over_all_pairs(
    compared: Callable[..., RunRecord],
) -> None:
    # between seeds lies more than between architectures: only pairs see the difference; the seeds
    # have no order of their values
    base = [1.5, 1.0, 2.0]
    near = [one + shift for one, shift in zip(base, (0.1, 0.101, 0.099), strict=True)]
    found = _results(compared({"a": list(base), "b": near, "c": [1.0, 2.0, 1.6]}))
    by_pair = {(one.first, one.second): one for one in found.differences}
    assert set(by_pair) == {("a", "b"), ("a", "c"), ("b", "c")}
    better = by_pair["a", "b"]
    assert better.verdict == "better"
    assert better.test is not None
    assert better.test.difference.value == pytest.approx(-0.1)
    assert better.p_adjusted == pytest.approx(3 * better.test.p_value)
    assert by_pair["a", "c"].verdict == by_pair["b", "c"].verdict == "no difference found"


def test_control_is_what_all_others_are_compared_with(
    compared: Callable[..., RunRecord], write: Callable[[RunRecord], Path]
) -> None:
    values = {"a": [1.0, 1.2, 1.1], "b": [1.0, 1.5, 2.0], "c": [1.1, 1.32, 1.2]}
    record = compared(values, control="b")
    found = _results(record).differences
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("c", "b")]
    # two tests are corrected for, not the three of all pairs
    p_values = [one.test.p_value for one in found if one.test is not None]
    assert found[p_values.index(min(p_values))].p_adjusted == pytest.approx(2 * min(p_values))
    text = report(write(record)).markdown.read_text()
    assert "Every model is compared with the control, b." in text


def test_model_with_agency_is_named_by_it_and_others_are_not(
    compared: Callable[..., RunRecord], write: Callable[[RunRecord], Path]
) -> None:
    record = compared({"a": [1.0, 1.2, 1.1], "b": [1.0, 1.5, 2.0]})
    assert "| agency |" not in report(write(record)).markdown.read_text()
    assert record.comparison is not None
    models = record.comparison["models"]
    agency = {"gate": None, "baseline": "compare:a"}
    models["b"] = {**models["b"], "agency": agency, "num_frozen": 4}
    files = report(write(record))
    for text in (files.markdown.read_text(), files.html.read_text(), summary(record)):
        assert "frozen a of its seed" in text
        assert "10 (4 frozen)" in text
    assert "b runs beside a frozen model of 4 parameters" in files.markdown.read_text()


def test_seeds_without_a_partner_are_not_paired(compared: Callable[..., RunRecord]) -> None:
    found = _results(compared({"a": [1.0, None, None], "b": [1.0, 1.1, 1.3]}))
    (difference,) = found.differences
    assert difference.verdict == "not comparable"
    assert difference.reason == "1 seed(s) in common, two are needed"


def test_rate_that_was_not_chosen_does_not_enter_the_mean(
    compared: Callable[..., RunRecord],
) -> None:
    loser = _cell("a", 0, 9.0, is_tuning=True, is_chosen=False, rate=0.5)
    found = _results(compared({"a": [1.0, 1.2, 1.1]}, cells=[loser]))
    assert found.results[1].mean == pytest.approx(1.1)


def test_report_lists_missing_seeds_floors_and_rates_at_the_edge(
    compared: Callable[..., RunRecord], write: Callable[[RunRecord], Path]
) -> None:
    rates = {"a": {"chosen": 0.01, "at_edge": True, "validation_losses": {"0.01": 1.0}}}
    record = compared({"a": [1.0, 1.2, None], "b": [2.5, 2.6, 2.7]}, learning_rates=rates)
    files = report(write(record))
    text = files.markdown.read_text()
    assert "a: 1 seed not measured." in text
    assert "b is not better than ngram2." in text
    assert "a is not better than" not in text
    assert "The chosen learning rate of a is at the edge of its grid" in text
    # the terminal shows the table and not the notes
    assert summary(record).count("0.01 (edge of grid)") == text.count("0.01 (edge of grid)") == 1
    assert "| 2 of 3 |" in text
    numbers = json.loads(files.json.read_text())["architectures"]
    assert numbers[f"differences-{TASK}"]["rows"][0]["test"]["num_pairs"] == 2
    assert [row["name"] for row in numbers[f"results-{TASK}"]["rows"]] == ["ngram2", "a", "b"]
    html = files.html.read_text()
    assert "<h2>Architectures</h2>" in html
    assert "1 cell failed" in text


def test_comparison_without_a_measurement_says_so(
    compared: Callable[..., RunRecord], write: Callable[[RunRecord], Path]
) -> None:
    record = compared({"a": [None, None, None]})
    for cell in record.cells:
        cell.evaluation = None
    text = report(write(record)).markdown.read_text()
    assert "Not computed: no model was measured on it." in text
