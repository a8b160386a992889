"""A search in a run: the same trials however it is interrupted, and blind to what is measured."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from sentinel_research.comparison import run as comparison
from sentinel_research.data import corpora
from sentinel_research.pipeline import run
from sentinel_research.record import RunRecord
from tests.tuning.conftest import TINY, tiny_recipe

# one worker searches once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("tuning")]


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a search that tests only read."""
    folder = tmp_path_factory.mktemp("searched")
    run(tiny_recipe(), folder)
    return folder


def _trials(folder: Path) -> list[dict[str, Any]]:
    record = RunRecord.read(folder)
    assert record.comparison is not None
    trials: list[dict[str, Any]] = record.comparison["tuning"]["gpt2"]["trials"]
    return trials


def test_every_trial_of_the_budget_is_in_the_record(searched: Path) -> None:
    record = RunRecord.read(searched)
    assert [cell.id for cell in record.cells] == [
        *(f"gpt2-seed0-trial{number}" for number in range(5)),
        "gpt2-seed1",
    ]
    assert record.comparison is not None
    found = record.comparison["tuning"]["gpt2"]
    assert found["num_trials"] == 5
    assert found["num_diverged"] >= 1
    assert found["num_complete"] >= 1
    assert found["num_complete"] + found["num_stopped"] + found["num_diverged"] == 5
    assert found["num_steps"] == sum(one["num_steps"] for one in found["trials"])


def test_best_settings_are_used_with_the_other_seeds_and_measured_once(searched: Path) -> None:
    record = RunRecord.read(searched)
    complete = [one for one in _trials(searched) if one["outcome"] == "complete"]
    best = min(complete, key=lambda one: one["validation_loss"])
    other = record.cell("gpt2-seed1")
    assert other.arm is not None
    assert other.arm.settings == best["settings"]
    measured = [cell.id for cell in record.cells if cell.evaluation is not None]
    assert measured == [best["cell"], "gpt2-seed1"]
    assert all(check.passed for check in record.checks)
    assert "lowest validation loss of 5 trials" in (searched / "report.md").read_text()


def test_search_reads_no_document_that_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real_load, real_evaluate = corpora.load_corpus, comparison.evaluate_cell

    def load(name: str, split: str) -> Any:
        read.append(split)
        return real_load(name, split)

    def evaluate(*arguments: Any, **named: Any) -> None:
        read.append("measured")
        real_evaluate(*arguments, **named)

    for module in _modules_that_load():
        monkeypatch.setattr(module, "load_corpus", load)
    monkeypatch.setattr(comparison, "evaluate_cell", evaluate)
    changes = ["tune.trials=2", "compare.seeds=[0]", "train.seed=3"]
    run(tiny_recipe(*changes, "evaluate.tasks=[sentinel_synthetic]"), tmp_path)
    before = read[: read.index("measured")]
    assert {"train", "validation"} <= set(before)
    assert "test" not in before


def _modules_that_load() -> list[Any]:
    import sys

    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("sentinel_research.")
        and getattr(module, "load_corpus", None) is corpora.load_corpus
    ]


def test_interrupted_search_goes_on_with_the_trials_of_an_uninterrupted_one(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = comparison.train_model, []

    def train(*arguments: Any, **options: Any) -> None:
        begun.append(options["title"])
        if len(begun) in (2, 5):
            raise KeyboardInterrupt
        real(*arguments, **options)

    monkeypatch.setattr(comparison, "train_model", train)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tiny_recipe(), tmp_path)
    record = run(tiny_recipe(), tmp_path)
    assert record.status == RunRecord.read(searched).status
    assert _trials(tmp_path) == _trials(searched)


def test_tune_on_the_command_line_takes_the_place_of_the_grid(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = [word for one in TINY[:2] for word in ("--set", one)]
    assert main(["run", "architectures-demo", "--tune", "3", "--dry-run", *sets]) == 0
    shown = capsys.readouterr().out
    assert "search: 3 trials of each architecture over learning_rate 0.0001 to 0.01 (log)" in shown
    assert "gpt2-seed0-trial2" in shown
    assert "gpt2-seed0-lr" not in shown
