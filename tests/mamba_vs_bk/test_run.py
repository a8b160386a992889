"""Runs that go on, models that fail, checks that do not hold: listed, not counted, exit code 1."""

from pathlib import Path
from typing import Any

import pytest

import sentinel_research.comparison.run as comparison
from sentinel_research.cli import main
from sentinel_research.errors import DivergedError
from sentinel_research.record import RunRecord
from tests.mamba_vs_bk.conftest import SMALL, merged, read

WORDS = [*SMALL, "--model", "bk", "--dataset", "shakespeare", "--num_steps", "3"]
FILE = "bk_shakespeare_seq32_bits32.json"


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of cells whose training diverges."""
    original, names = comparison.train_model, list[str]()

    def train(*args: Any, title: str, **rest: Any) -> None:
        if title in names:
            raise DivergedError("training diverged", "lower it", {"diverged": {"step": 1}})
        original(*args, title=title, **rest)

    monkeypatch.setattr(comparison, "train_model", train)
    return names


@pytest.mark.long
def test_same_command_goes_on_and_writes_the_same_file(
    small_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["mamba-vs-bk", *merged(*WORDS, "--seeds", "1", "2", "--output_dir", str(tmp_path))]
    original, trained = comparison.train_model, list[str]()

    def counted(*args: Any, title: str, **rest: Any) -> None:
        trained.append(title)
        if trained == ["bk-seed1", "bk-seed2"]:
            raise KeyboardInterrupt
        original(*args, title=title, **rest)

    monkeypatch.setattr(comparison, "train_model", counted)
    assert main(words) == 130
    assert not list(tmp_path.glob("*.json"))
    assert main(words) == 0
    assert trained == ["bk-seed1", "bk-seed2", "bk-seed2"]
    before = read(tmp_path, FILE)
    assert main(words) == 0
    assert trained == ["bk-seed1", "bk-seed2", "bk-seed2"]
    after = read(tmp_path, FILE)
    for result in (before, after):
        # when the command ended last
        result["provenance"].pop("finished_at")
    assert before == after


def test_seed_that_diverged_is_listed_and_not_in_the_mean(
    small_mirror: Path, tmp_path: Path, fails: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fails.append("bk-seed2")
    words = ["--seeds", "1", "2", "--output_dir", str(tmp_path)]
    assert main(["mamba-vs-bk", *merged(*WORDS, *words)]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(tmp_path / FILE)
    assert "failed: shakespeare, bk-seed2: training diverged" in captured.err
    result = read(tmp_path, FILE)
    assert (result["status"], result["seeds"]) == ("failed", [1])
    assert [failure["cell"] for failure in result["failed"]] == ["bk-seed2"]
    assert result["final_loss"] == result["runs"][0]["final_loss"]
    assert result["intervals"] is None
    assert result["not_measured"]["intervals"] == "1 seed was measured, an interval needs two"


def test_model_without_any_result_has_nulls_and_reasons(
    small_mirror: Path, tmp_path: Path, fails: list[str]
) -> None:
    fails.append("bk-seed42")
    words = ["--model", "both", "--output_dir", str(tmp_path)]
    assert main(["mamba-vs-bk", *merged(*WORDS, *words)]) == 1
    result = read(tmp_path, FILE)
    assert result["final_loss"] is result["total_flops"] is result["test"] is None
    assert result["model_size_mb"] is result["epoch_losses"] is None
    assert "bk-seed42: training diverged" in result["not_measured"]["all"]
    other = read(tmp_path, FILE.replace("bk_", "mamba_"))
    assert (other["status"], other["failed"]) == ("done", [])


def test_only_dataset_that_is_missing_is_an_error(
    small_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "pile", "--output_dir", str(tmp_path)]
    assert main(["mamba-vs-bk", *SMALL, "--model", "bk", *words]) == 1
    assert "error: EleutherAI/pile is read from a mirror only" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_check_that_does_not_hold_is_in_the_file_and_the_exit_code(
    small_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentinel_research.inputs as inputs

    # as if every document of the training had been found in every task
    monkeypatch.setattr(
        inputs, "_evaluated", lambda recipe: [("t", list(next(inputs._fitted(recipe)).documents))]
    )
    assert main(["mamba-vs-bk", *merged(*WORDS, "--output_dir", str(tmp_path))]) == 1
    result = read(tmp_path, FILE)
    assert result["status"] == "failed"
    (failure,) = result["failed"]
    assert failure["error"].startswith("check failed: training shares no document with t")
    assert result["final_loss"] is not None


def test_models_that_are_not_kept_are_deleted_after_they_were_measured(
    small_mirror: Path, tmp_path: Path
) -> None:
    words = ["--no_checkpoint", "--lr", "0.01", "0.001", "--output_dir", str(tmp_path)]
    assert main(["mamba-vs-bk", *merged(*WORDS, *words)]) == 0
    assert not list(tmp_path.rglob("*.safetensors"))
    result = read(tmp_path, FILE)
    assert result["model_size_mb"] > 0
    record = RunRecord.read((tmp_path / result["provenance"]["record"]).parent)
    assert [cell.model_folder for cell in record.cells] == [None] * len(record.cells)
    assert [cell.status for cell in record.cells] == ["done"] * len(record.cells)
    # what was deleted is not trained again
    assert main(["mamba-vs-bk", *merged(*WORDS, *words)]) == 0
    assert not list(tmp_path.rglob("*.safetensors"))


def test_memory_that_cannot_be_measured_is_null_with_the_reason(
    small_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentinel_research import memory

    monkeypatch.setattr(memory, "_RESET", tmp_path / "absent")
    assert main(["mamba-vs-bk", *merged(*WORDS, "--output_dir", str(tmp_path))]) == 0
    result = read(tmp_path, FILE)
    assert result["peak_memory_mb"] is None
    assert "keeps no peak" in result["not_measured"]["peak_memory_mb"]


def test_dry_run_shows_the_models_and_writes_nothing(
    small_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert main(["mamba-vs-bk", *merged(*WORDS, "--dry-run", "--output_dir", str(folder))]) == 0
    shown = capsys.readouterr().out
    assert "training: 3 steps of 4 x 32 tokens of shakespeare" in shown
    assert "  bk-seed42" in shown.splitlines()
    assert not folder.exists()


def test_search_spends_the_same_budget_on_both_and_its_choice_is_measured(
    small_mirror: Path, tmp_path: Path
) -> None:
    changes = ("--model", "both", "--dataset", "shakespeare", "--num_steps", "3", "--tune", "2")
    assert main(["mamba-vs-bk", *merged(*SMALL, *changes, "--output_dir", str(tmp_path))]) == 0
    (record,) = (RunRecord.read(path.parent) for path in tmp_path.glob("runs/*/record.json"))
    assert record.comparison is not None
    searches = record.comparison["tuning"]
    assert set(searches) == {"mamba", "bk"}
    assert len({search["num_steps"] for search in searches.values()}) == 1
    for name, search in searches.items():
        result = read(tmp_path, f"{name}_shakespeare_seq32_bits32.json")
        chosen = search["chosen"]["learning_rate"]
        assert 1e-4 <= chosen <= 1e-2
        assert [run["learning_rate"] for run in result["runs"]] == [chosen]
        assert result["config"]["lr"] is None
