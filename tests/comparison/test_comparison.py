"""Architectures compared by one protocol: same data, same grid, same tasks, nothing dropped."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from sentinel_research.comparison import plan_comparison
from sentinel_research.comparison.plan import arm_recipe
from sentinel_research.dry_run import dry_run
from sentinel_research.errors import DivergedError, UsageError
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import Arm, RunRecord
from sentinel_research.reporting import report, summary
from sentinel_research.specs import CompareSpec

# one worker trains the finished comparison once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("comparison")]

LLAMA = "hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2"
TINY = [
    "compare.architectures.gpt2.config={n_embd: 16, n_layer: 1, n_head: 2, n_positions: 128}",
    f"compare.architectures.llama.config={{{LLAMA}}}",
    "compare.match.target=4000",
    "compare.learning_rates=[0.0001, 0.02]",
    "compare.ngrams=[1, 2]",
    "train.num_steps=6",
    "train.batch_size=4",
    "train.validate_every=3",
    "train.validation_blocks=4",
    "evaluate.limit=3",
]
# one training and one measurement an architecture
SHORT = [
    *TINY,
    "compare.seeds=[4]",
    "compare.learning_rates=[]",
    "compare.ngrams=[]",
    "evaluate.tasks=[sentinel_synthetic]",
    "evaluate.limit=2",
]
IDS = [
    *("ngram1", "ngram2"),
    *("gpt2-seed0-lr0.0001", "gpt2-seed0-lr0.02", "gpt2-seed1"),
    *("llama-seed0-lr0.0001", "llama-seed0-lr0.02", "llama-seed1"),
]


def _recipe() -> Any:
    return load_recipe("architectures-demo", TINY).recipe


def _values(record: RunRecord) -> dict[str, float]:
    return {
        f"{cell.id}/{one.task}/{one.metric}": one.value
        for cell in record.cells
        if cell.evaluation is not None
        for one in cell.evaluation.measurements
    }


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison that tests only read."""
    folder = tmp_path_factory.mktemp("compared")
    run(_recipe(), folder)
    return folder


def test_best_rate_of_the_grid_is_used_with_all_seeds(compared: Path) -> None:
    record = RunRecord.read(compared)
    assert record.status == "done"
    assert [cell.id for cell in record.cells] == IDS
    for name in ("gpt2", "llama"):
        grid = [record.cell(f"{name}-seed0-lr{rate}") for rate in ("0.0001", "0.02")]
        losses = [cell.train["validation_loss"] for cell in grid if cell.train]
        best = [0.0001, 0.02][losses.index(min(losses))]
        assert record.comparison is not None
        search = record.comparison["learning_rates"][name]
        assert search["chosen"] == best == 0.02
        assert list(search["validation_losses"].values()) == losses
        other = record.cell(f"{name}-seed1").arm
        assert other is not None
        assert other.learning_rate == best
        # a rate that was not chosen is reported, and never sees the test split
        assert [cell.evaluation is not None for cell in grid] == [False, True]
        assert [cell.status for cell in grid] == ["done", "done"]


def test_all_models_trained_on_the_same_blocks_and_were_measured_alike(compared: Path) -> None:
    record = RunRecord.read(compared)
    assert all(check.passed for check in record.checks)
    names = [check.name for check in record.checks]
    assert "all architectures trained on the same blocks and as many tokens" in names
    assert "training shares no document with sentinel_synthetic_validation" in names
    hashes = {
        json.dumps(cell.evaluation.task_hashes)
        for cell in record.cells
        if cell.evaluation is not None
    }
    assert len(hashes) == 1
    lengths = {cell.evaluation.max_length for cell in record.cells if cell.evaluation is not None}
    assert lengths == {128}


def test_floors_count_as_many_different_tokens_as_a_network_sees(compared: Path) -> None:
    record = RunRecord.read(compared)
    floor, network = record.cell("ngram2").train, record.cell("gpt2-seed1").train
    assert floor is not None
    assert network is not None
    # six steps of four blocks are far from a pass over the corpus
    assert floor["num_tokens"] == network["num_tokens"] == 6 * 4 * 127


def test_sizes_are_equal_within_one_percent_of_the_target(compared: Path) -> None:
    record = RunRecord.read(compared)
    assert record.comparison is not None
    for one in record.comparison["models"].values():
        assert abs(one["num_non_embedding"] / 4000 - 1) <= 0.01
    trained = record.cell("gpt2-seed1").train
    assert trained is not None
    assert trained["num_parameters"] == record.comparison["models"]["gpt2"]["num_parameters"]


def test_report_shows_architectures_floors_and_differences(compared: Path) -> None:
    files = report(compared)
    text = files.markdown.read_text()
    for words in ("## Architectures", "| ngram2 |", "| gpt2 |", "### Differences on sentinel_synt"):
        assert words in text
    assert "No task was evaluated" not in text
    assert "gpt2 is not better than ngram" in text
    numbers = json.loads(files.json.read_text())["architectures"]
    rows = numbers["results-sentinel_synthetic"]["rows"]
    assert {row["name"] for row in rows} == {"ngram1", "ngram2", "gpt2", "llama"}
    shown = summary(RunRecord.read(compared))
    assert "bits_per_byte, mean" in shown
    assert "architectures" in files.html.read_text().lower()


def test_interrupted_comparison_goes_on_and_trains_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentinel_research.comparison.run as module

    trained: list[str] = []
    original = module.train_model

    def counted(*args: Any, title: str, **rest: Any) -> None:
        trained.append(title)
        if trained == ["gpt2-seed4", "llama-seed4"]:
            raise KeyboardInterrupt
        original(*args, title=title, **rest)

    monkeypatch.setattr(module, "train_model", counted)
    recipe = load_recipe("architectures-demo", SHORT).recipe
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path)
    before = RunRecord.read(tmp_path)
    assert before.status == "started"
    record = run(recipe, tmp_path)
    assert record.status == "done"
    assert trained == ["gpt2-seed4", "llama-seed4", "llama-seed4"]
    assert record.cell("gpt2-seed4") == before.cell("gpt2-seed4")
    assert record.comparison == before.comparison


def test_architecture_that_diverges_is_listed_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentinel_research.comparison.run as module

    original = module.train_model

    def fails(recipe: Any, *args: Any, title: str, **rest: Any) -> None:
        if title.startswith("llama"):
            raise DivergedError("training diverged", "lower it", {"diverged": {"step": 1}})
        original(recipe, *args, title=title, **rest)

    monkeypatch.setattr(module, "train_model", fails)
    changes = [*SHORT, "compare.seeds=[4, 5]", "compare.learning_rates=[0.02, 0.0001]"]
    record = run(load_recipe("architectures-demo", changes).recipe, tmp_path)
    assert record.status == "failed"
    assert {cell.id: cell.status for cell in record.cells} == {
        **dict.fromkeys(["gpt2-seed4-lr0.02", "gpt2-seed4-lr0.0001", "gpt2-seed5"], "done"),
        **dict.fromkeys(["llama-seed4-lr0.02", "llama-seed4-lr0.0001", "llama-seed5"], "failed"),
    }
    assert record.cell("llama-seed4-lr0.02").train == {"diverged": {"step": 1}}
    assert "no learning rate" in (record.cell("llama-seed5").error or "")
    text = (tmp_path / "report.md").read_text()
    assert "3 cells failed" in text
    assert "llama: 2 seeds not measured" in text


def test_size_that_an_architecture_cannot_have_stops_before_any_training(tmp_path: Path) -> None:
    changes = [*TINY, "compare.match.target=10"]
    recipe = load_recipe("architectures-demo", changes).recipe
    with pytest.raises(UsageError, match="'gpt2' cannot have 10 non-embedding parameters"):
        run(recipe, tmp_path)
    record = RunRecord.read(tmp_path)
    assert record.status == "failed"
    assert "cannot have 10" in (record.error or "")
    assert not (tmp_path / "cells").exists()


def test_dry_run_shows_sizes_and_every_model_that_would_be_trained() -> None:
    shown = dry_run(_recipe())
    assert shown.num_failed == 0
    assert "models to train or fit: 8" in shown.text
    assert "llama: 4,0" in shown.text or "llama: 3,9" in shown.text
    assert all(f"  {name}" in shown.text.splitlines() for name in IDS)


@given(
    seeds=strategies.lists(strategies.integers(0, 99), min_size=1, max_size=4, unique=True),
    rates=strategies.lists(
        strategies.floats(1e-6, 1.0, allow_nan=False), max_size=3, unique=True
    ),
)  # fmt: skip
def test_every_architecture_gets_the_same_seeds_and_the_same_budget(
    seeds: list[int], rates: list[float]
) -> None:
    architectures = {name: {"architecture": name} for name in ("gpt2", "llama", "opt")}
    spec = CompareSpec.model_validate(
        {"architectures": architectures, "seeds": seeds, "learning_rates": rates}
    )
    arms = [cell.arm for cell in plan_comparison(spec) if cell.arm is not None]
    of = {
        name: [arm.model_dump(exclude={"name"}) for arm in arms if arm.name == name]
        for name in architectures
    }
    assert of["gpt2"] == of["llama"] == of["opt"]
    assert {arm["seed"] for arm in of["gpt2"]} == set(seeds)
    assert len(of["gpt2"]) == (len(seeds) if len(rates) < 2 else len(seeds) - 1 + len(rates))
    ids = [cell.id for cell in plan_comparison(spec)]
    assert len(set(ids)) == len(ids)


def test_recipes_of_two_architectures_differ_in_the_architecture_alone() -> None:
    recipe = _recipe()
    one, other = (
        arm_recipe(recipe, Arm(name=name, seed=7, learning_rate=0.5), {"x": 1}).model_dump()
        for name in ("gpt2", "llama")
    )
    assert one["model"].pop("architecture") != other["model"].pop("architecture")
    assert one == other
    assert one["train"]["seed"] == 7
    assert one["train"]["learning_rate"] == 0.5


def test_models_of_other_blocks_or_fewer_tokens_fail_the_check(compared: Path) -> None:
    from sentinel_research.comparison.run import _same_blocks

    record = RunRecord.read(compared)
    assert _same_blocks(record).passed
    trained = record.cell("llama-seed1").train
    assert trained is not None
    record.cell("llama-seed1").train = {**trained, "num_tokens": 5}
    check = _same_blocks(record)
    assert not check.passed
    assert "1 model: 5 tokens" in check.detail
