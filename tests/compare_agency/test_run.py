"""A comparison from its command to its files."""

import json
from pathlib import Path

import pytest

from sentinel_research.compare_agency import results as gathering
from sentinel_research.compare_agency import speed
from tests.compare_agency.conftest import compare, results_of

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("compare_agency")]
ARMS = {"dense", "masked", "removed", "random", "agency"}


def _value(folder: Path, arm: str, metric: str, level: float = 50.0) -> list[float]:
    for one in results_of(folder)["points"]:
        if (one["arm"], one["metric"], one["level"]) == (arm, metric, level):
            return list(one["values"])
    raise KeyError((arm, metric, level))


def test_every_arm_has_quality_speed_and_memory(finished: Path) -> None:
    points = results_of(finished)["points"]
    for metric in ("perplexity", "distinct-2", "tokens_per_second", "first_token_ms", "weights_mb"):
        arms = {one["arm"] for one in points if one["metric"] == metric} - {"human text"}
        assert arms == ARMS, metric
    assert all(len(one["values"]) == 2 for one in points)
    assert {one["arm"] for one in points if one["metric"] == "writing_mb"} == ARMS


def test_removed_heads_compute_what_masked_ones_do_and_weigh_less(finished: Path) -> None:
    masked, removed = (_value(finished, arm, "perplexity") for arm in ("masked", "removed"))
    assert removed == pytest.approx(masked, rel=1e-4)
    weights = [_value(finished, arm, "weights_mb")[0] for arm in ("removed", "masked")]
    assert weights[0] < weights[1]


def test_laws_of_gates_at_rest_are_checked_and_hold(finished: Path) -> None:
    checks = results_of(finished)["checks"]
    assert len(checks) == 4
    assert all(check["passed"] for check in checks)


def test_broken_law_is_a_failed_check_and_an_exit_code(
    finished: Path, plain_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_kept", lambda record, arm: {50.0: arm})
    assert (
        compare(finished, "--memory_logging", "--save_outputs", "--model_name", str(plain_folder))
        == 1
    )
    found = results_of(finished)
    assert found["status"] == "failed"
    assert [one["passed"] for one in found["checks"]] == [True, False, True, False]


def test_policy_moves_the_heads_that_stay_and_without_it_agency_is_the_mask(
    finished: Path, plain_folder: Path, tmp_path: Path
) -> None:
    masked = _value(finished, "masked", "perplexity")
    moved = _value(finished, "agency", "perplexity")
    assert moved != pytest.approx(masked, rel=1e-6)
    flags = ["--model_name", str(plain_folder), "--frozen_states", "--iterations", "1"]
    assert compare(tmp_path, *flags) == 0
    assert _value(tmp_path, "agency", "perplexity") == pytest.approx(masked[:1], rel=1e-5)


def test_one_iteration_has_values_and_no_verdict_over_iterations(
    plain_folder: Path, tmp_path: Path
) -> None:
    flags = ["--model_name", str(plain_folder), "--iterations", "1", "--frozen_states"]
    assert compare(tmp_path, *flags) == 0
    found = results_of(tmp_path)
    assert all(one["low"] is None for one in found["points"])
    for one in found["contrasts"]:
        if one["metric"] != "perplexity":
            assert one["verdict"] == "not comparable"
            assert "--iterations" in one["reason"]


def test_perplexity_of_a_stored_model_is_tested_on_documents(finished: Path) -> None:
    tested = [one for one in results_of(finished)["contrasts"] if one["metric"] == "perplexity"]
    assert {one["second"] for one in tested} == {"masked", "removed", "random"}
    assert {one["test"] for one in tested} == {"documents of the first iteration"}
    assert all(one["p_value"] is not None for one in tested)


def test_same_command_measures_nothing_again(
    finished: Path, plain_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was timed again")

    monkeypatch.setattr(speed, "write_in_turns", refuse)
    records = sorted(finished.glob("runs/*/cells/*/continuations.jsonl"))
    before = [path.stat().st_mtime_ns for path in records]
    flags = ["--memory_logging", "--save_outputs", "--model_name", str(plain_folder)]
    assert compare(finished, *flags) == 0
    assert [path.stat().st_mtime_ns for path in records] == before
    assert results_of(finished)["status"] == "done"


def test_texts_are_kept_with_their_arm(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "outputs.jsonl").read_text().splitlines()]
    # two prompts, two iterations; dense and agency also with all heads
    assert len(rows) == 2 * 2 * (2 + 4)
    assert {row["arm"] for row in rows} == ARMS
    assert all(row["prompt"] and row["continuations"] for row in rows)


def test_files_are_figures_tables_and_numbers(finished: Path) -> None:
    figures = {path.name for path in (finished / "figures").iterdir()}
    names = ("speed", "quality", "summary", "improvement", "radar")
    names += ("front_first_token_ms", "front_tokens_per_second")
    assert figures == {f"{name}.svg" for name in names}
    assert (finished / "results.html").read_text().count("<figure>") == len(names)
    text = (finished / "results.md").read_text()
    assert "Measured on synthetic data." in text
    assert "| masked | 50 % | perplexity |" in text
    rows = (finished / "results.csv").read_text().splitlines()
    assert rows[0] == "arm,level,metric,temperature,iteration,value"
    assert len(rows) == 1 + sum(len(one["values"]) for one in results_of(finished)["points"])


@pytest.mark.slow
def test_default_model_is_trained_with_agency_and_without(tmp_path: Path) -> None:
    assert compare(tmp_path, "--preset", "debug", "--learning_steps", "3") == 0
    found = results_of(tmp_path)
    assert found["checks"] == []
    tests = {one["test"] for one in found["contrasts"] if one["metric"] == "perplexity"}
    assert tests == {"Student's t over iterations"}
    assert (tmp_path / "runs" / "train-agency-1" / "model").is_dir()
