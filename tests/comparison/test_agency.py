"""What agency adds to a model, compared by one protocol: the same start, its own row, its size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import sentinel_research.comparison.run as comparison
from sentinel_research.comparison import match_all
from sentinel_research.comparison.plan import arm_recipe
from sentinel_research.dry_run import dry_run
from sentinel_research.errors import DivergedError, UsageError
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import Arm, RunRecord
from sentinel_research.reporting import report, summary
from sentinel_research.specs import Recipe
from sentinel_research.trained import untrained

# one worker trains the finished comparison once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("agency-comparison")]

CONFIG = "{n_embd: 16, n_layer: 2, n_head: 2, n_positions: 128}"
TINY = [
    *("train.num_steps=4", "train.batch_size=4", "train.validate_every=2"),
    *("train.validation_blocks=4", "evaluate.limit=2", "evaluate.tasks=[sentinel_synthetic]"),
    *("compare.ngrams=[]", "compare.seeds=[3, 4]", "compare.learning_rates=[0.02, 0.0001]"),
]


def _entry(agency: str = "null") -> str:
    return f"{{architecture: gpt2, config: {CONFIG}, agency: {agency}}}"


def _recipe(*changes: str, **agencies: str) -> Recipe:
    entries = {"plain": _entry(), **{name: _entry(one) for name, one in agencies.items()}}
    listed = ", ".join(f"{name}: {entry}" for name, entry in entries.items())
    changed = [*TINY, f"compare.architectures={{{listed}}}", *changes]
    return load_recipe("agency-ablation", changed).recipe


BESIDE = "{gate: null, baseline: 'compare:plain'}"


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison of two with the plain model; tests only read it."""
    folder = tmp_path_factory.mktemp("agency")
    policy = "{every: 2, num_sequences: 2}"
    states = f"{{gate: hard_concrete, l0_penalty: 0.01, policy: {policy}, skips: true}}"
    run(_recipe(states=states, beside=BESIDE), folder)
    return folder


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Beginnings of the names of cells whose training diverges."""
    original, beginnings = comparison.train_model, list[str]()

    def train(*args: Any, title: str, **rest: Any) -> None:
        if title.startswith(tuple(beginnings)):
            raise DivergedError("training diverged", "lower it", {"diverged": {"step": 1}})
        original(*args, title=title, **rest)

    monkeypatch.setattr(comparison, "train_model", train)
    return beginnings


def test_every_model_is_trained_with_the_agency_of_its_entry(compared: Path) -> None:
    record = RunRecord.read(compared)
    assert record.status == "done", [cell.error for cell in record.cells]
    asked = record.recipe["compare"]["architectures"]
    for cell in record.cells:
        assert cell.arm is not None
        assert cell.train is not None
        expected = asked[cell.arm.name]["agency"]
        if cell.arm.name == "plain":
            assert "agency" not in cell.train
        elif cell.arm.name != "beside":
            assert cell.train["agency"]["spec"] == expected
    heads = record.cell("states-seed4").train
    assert heads is not None
    assert sum(heads["agency"]["num_heads"].values()) == 4


def test_frozen_baseline_is_the_plain_model_of_the_same_seed(compared: Path) -> None:
    record = RunRecord.read(compared)
    for seed in (3, 4):
        plain, beside = (
            next(
                cell
                for cell in record.cells
                if cell.arm is not None
                and (cell.arm.name, cell.arm.seed) == (name, seed)
                and cell.arm.is_chosen is not False
            )
            for name in ("plain", "beside")
        )
        models = [
            AutoModelForCausalLM.from_pretrained(compared / str(cell.model_folder))
            for cell in (plain, beside)
        ]
        weights = models[0].base_model.state_dict()
        frozen = models[1].agency_baseline.decoder.state_dict()
        assert frozen.keys() == weights.keys()
        assert all(torch.equal(frozen[name], weights[name]) for name in weights)


def test_all_variants_start_from_the_same_function(compared: Path) -> None:
    recipe = load_recipe("agency-ablation", TINY).recipe
    assert recipe.compare is not None
    ids = torch.arange(1, 25).reshape(2, 12)
    logits = {}
    for name, spec in recipe.compare.architectures.items():
        beside = str(compared / "cells" / "plain-seed4" / "model") if name == "baseline" else None
        config = dict(spec.config)
        if beside is not None:
            # the folder holds a model of other widths: only what is added is at stake
            config = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
        own = arm_recipe(recipe, Arm(name=name, seed=3, learning_rate=0.1), config, beside)
        with torch.no_grad():
            logits[name] = untrained(own)[0].eval()(ids).logits
            if beside is not None:
                alone = arm_recipe(recipe, Arm(name="plain", seed=3, learning_rate=0.1), config)
                assert torch.equal(logits.pop(name), untrained(alone)[0].eval()(ids).logits)
    assert len(logits) == len(recipe.compare.architectures) - 1
    assert all(torch.equal(one, logits["plain"]) for one in logits.values())


def test_report_names_what_was_added_and_how_much_of_it_is_frozen(compared: Path) -> None:
    text = report(compared).markdown.read_text()
    record = RunRecord.read(compared)
    assert record.comparison is not None
    models = record.comparison["models"]
    frozen = models["plain"]["num_non_embedding"]
    assert models["beside"]["num_frozen"] == frozen
    # two maps of 16 x 16 beside the model and the frozen one
    assert models["beside"]["num_non_embedding"] == 2 * frozen + 16 * 16
    for shown in (text, summary(record)):
        assert "agency" in shown
        for words in (
            "hard concrete gates (L0 penalty 0.01), states by policy, U-Net skips",
            "frozen plain of its seed",
            f"{2 * frozen + 256:,} ({frozen:,} frozen)",
            "0.02 (edge of grid)",
        ):
            assert words in shown
    assert "beside runs beside a frozen model of" in text
    assert "Every model is compared with the control, plain." in text


def test_dry_run_names_agency_and_counts_it() -> None:
    shown = dry_run(_recipe(input="{gate: input}", beside=BESIDE)).text.splitlines()
    sizes = {
        line.split()[0].rstrip(":"): int(line.split(": ")[1].split()[0].replace(",", ""))
        for line in shown
        if "parameters without embeddings" in line
    }
    # a row of 16 weights and an offset for each of 4 heads
    assert sizes["input"] == sizes["plain"] + 4 * 17
    assert any(line.startswith("  input with input gates:") for line in shown)
    assert any(f"({sizes['plain']:,} frozen)" in line for line in shown)
    assert not any("off the target" in line for line in shown)


def test_matched_size_holds_with_everything_that_agency_adds() -> None:
    match = "compare.match={what: parameters, target: 30000}"
    found = match_all(_recipe(match, skips="{gate: input, skips: true}"))
    assert all(abs(one["deviation"]) <= 0.01 for one in found.values())
    assert found["skips"]["config"]["n_embd"] < found["plain"]["config"]["n_embd"]


def test_models_wait_for_their_baseline_and_baselines_stay_until_they_are_done(
    tmp_path: Path, fails: list[str]
) -> None:
    fails.append("plain-seed4")
    recipe = _recipe("compare.save_models=false", "compare.learning_rates=[]", beside=BESIDE)
    record = run(recipe, tmp_path)
    assert {cell.id: cell.status for cell in record.cells} == {
        "plain-seed3": "done",
        "plain-seed4": "failed",
        "beside-seed3": "done",
        "beside-seed4": "failed",
    }
    error = record.cell("beside-seed4").error or ""
    assert "'beside' of seed 4 has no baseline: 'plain' was not trained with it" in error
    (kept,) = tmp_path.rglob("*.safetensors")
    assert kept.parts[-3] == "plain-seed3"
    fails.clear()
    assert run(recipe, tmp_path).status == "done"
    assert not list(tmp_path.rglob("*.safetensors"))


def test_agency_that_a_family_cannot_have_stops_before_any_training(tmp_path: Path) -> None:
    mixed = "{architecture: sentinel, config: {hidden_size: 16}, agency: {gate: static}}"
    changes = [f"compare.architectures={{a: {mixed}}}", "compare.control=null"]
    recipe = load_recipe("agency-ablation", [*TINY, *changes]).recipe
    with pytest.raises(UsageError, match="cannot be added to a model of type 'sentinel'"):
        run(recipe, tmp_path)
    assert not (tmp_path / "cells").exists()
