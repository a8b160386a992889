"""The prunings of one recipe share calibration passes and scores, and may borrow another's plan."""

from pathlib import Path

import pytest
import torch

from sentinel_research.data import calibration as calibration_module
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models import save, structure_of
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruner import Pruner
from sentinel_research.pruning import calibrate, plan_units, prune
from sentinel_research.recipe import parse
from sentinel_research.specs import PruneSpec, Recipe

CALIBRATION = {"corpus": "synthetic", "num_sequences": 4, "sequence_length": 9}


def _recipe(**prune: object) -> Recipe:
    content = {
        "name": "r",
        "description": "d",
        "model": {"pretrained": "unused"},
        "prune": {"fractions": [0.5], "calibration": CALIBRATION, **prune},
        "evaluate": {"tasks": ["sentinel_synthetic"]},
    }
    return parse(Recipe, content, "test")


def _specs(recipe: Recipe) -> list[PruneSpec]:
    assert recipe.prune is not None
    always = dict.fromkeys(["flap", "gate_gradient", "magnitude_l2", "taylor"], False)
    return recipe.prune.cells(always, {name: name != "magnitude_l2" for name in always})


@pytest.fixture(autouse=True)
def _calibration_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(spec: object, _tokenizer: object, **_: object) -> CalibrationSet:
        seed = spec.seed + 100 * len(spec.corpus)  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(seed)
        return CalibrationSet.of(torch.randint(256, (4, 9), generator=generator))

    monkeypatch.setattr(calibration_module, "calibration_set", draw)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """What every pass over the calibration text gathered."""
    real = calibrate.collect
    seen: list[list[object]] = []

    def collect(model: object, text: object, needs: object, **options: object) -> object:
        seen.append(sorted(set(needs)))  # type: ignore[call-overload]
        return real(model, text, needs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(calibrate, "collect", collect)
    return seen


def test_scorers_of_one_draw_share_one_pass(passes: list[list[object]]) -> None:
    recipe = _recipe(scorers=["gate_gradient", "flap", "taylor"], fractions=[0.25, 0.5])
    specs = _specs(recipe)
    pruner = Pruner(tiny_model("gpt2"), byte_tokenizer(), recipe, specs)
    for spec in specs:
        pruner.prune(spec)
    assert passes == [[("channel_moments", "head"), ("gate_gradient", "head")]]


def test_every_draw_is_read_once(passes: list[list[object]]) -> None:
    recipe = _recipe(scorers=["gate_gradient", "taylor"], calibration_seeds=[3, 5])
    specs = _specs(recipe)
    pruner = Pruner(tiny_model("gpt2"), byte_tokenizer(), recipe, specs)
    fingerprints = {pruner.prune(spec).report.plan.calibration for spec in specs}
    assert passes == [[("gate_gradient", "head")]] * 2
    assert len(fingerprints) == 2


def test_variants_of_one_seed_are_scored_on_texts_of_their_own() -> None:
    corpora = {"one": "synthetic", "other": "ptb"}
    recipe = _recipe(
        scorers=["gate_gradient"],
        variants={
            name: {"calibration": {**CALIBRATION, "corpus": corpus}}
            for name, corpus in corpora.items()
        },
    )
    specs, model = _specs(recipe), tiny_model("gpt2")
    pruner = Pruner(model, byte_tokenizer(), recipe, specs)
    found = [pruner.prune(spec).report.plan for spec in specs]
    for spec, plan in zip(specs, found, strict=True):
        text = calibration_module.calibration_set(spec.calibration, None)  # type: ignore[arg-type]
        assert plan == prune(model, spec, calibration=text).report.plan
    assert found[0].scores != found[1].scores


def test_scorers_without_text_read_none(passes: list[list[object]]) -> None:
    recipe = _recipe(scorers=["magnitude_l2"])
    specs = _specs(recipe)
    Pruner(tiny_model("gpt2"), byte_tokenizer(), recipe, specs).prune(specs[0])
    assert passes == []


def test_shared_pass_gives_the_plan_of_a_pass_of_its_own() -> None:
    recipe = _recipe(scorers=["gate_gradient", "flap"], granularity=["head", "neuron"])
    specs, model = _specs(recipe), tiny_model("llama")
    pruner = Pruner(model, byte_tokenizer(), recipe, specs)
    for spec in specs:
        text = calibration_module.calibration_set(spec.calibration, None)  # type: ignore[arg-type]
        assert pruner.prune(spec).report.plan == prune(model, spec, calibration=text).report.plan


def test_compensation_reads_its_own_statistics_too() -> None:
    recipe = _recipe(
        scorers=["gate_gradient"],
        variants={"plain": {}, "compensated": {"compensate": "bias"}},
    )
    specs = _specs(recipe)
    pruner = Pruner(tiny_model("gpt2"), byte_tokenizer(), recipe, specs)
    plain, compensated = (pruner.prune(spec) for spec in specs)
    assert plain.report.plan.kept == compensated.report.plan.kept
    bias = "transformer.h.1.attn.c_proj.bias"
    assert not torch.equal(plain.model.get_parameter(bias), compensated.model.get_parameter(bias))


def test_plan_of_another_model_is_transferred(tmp_path: Path) -> None:
    source = tiny_model("gpt2", n_layer=6, seed=1)
    save(source, byte_tokenizer(), tmp_path / "source")
    recipe = _recipe(
        scorers=["gate_gradient"], scope="global", transfer_from=str(tmp_path / "source")
    )
    (spec,) = _specs(recipe)
    model = tiny_model("gpt2")
    plan = Pruner(model, byte_tokenizer(), recipe, [spec]).prune(spec).report.plan
    text = calibration_module.calibration_set(spec.calibration, None)  # type: ignore[arg-type]
    before, after = (
        source_plan.num_units("head")
        for source_plan in (structure_of(source.config), plan_units(source, spec, text).plan.after)
    )
    gone = [old - new for old, new in zip(before, after, strict=True)]
    found = [5 - kept for kept in plan.after.num_units("head")]
    # layer l of 3 lies at the depth of layers 2 l and 2 l + 1 of 6
    for layer, count in enumerate(found):
        assert abs(count - (gone[2 * layer] + gone[2 * layer + 1]) / 2) < 1
    assert sum(found) == sum(gone) // 2
    assert plan.scorer == "transfer of gate_gradient"
    assert plan.before == structure_of(model.config)


def test_transfer_of_blocks_is_refused(tmp_path: Path) -> None:
    save(tiny_model("gpt2", seed=1), byte_tokenizer(), tmp_path / "source")
    recipe = _recipe(
        scorers=["gate_gradient"], granularity="ffn", transfer_from=str(tmp_path / "source")
    )
    (spec,) = _specs(recipe)
    pruner = Pruner(tiny_model("gpt2"), byte_tokenizer(), recipe, [spec])
    with pytest.raises(UsageError, match="cannot transfer a plan that removes units of kind ffn"):
        pruner.prune(spec)


def test_pass_over_rounded_weights_is_another_one(passes: list[list[object]]) -> None:
    variants = {
        "plain": {},
        "scores": {"quantise": {"bits": 2, "when": "scores"}},
        "joint": {"quantise": {"bits": 2, "when": "joint"}},
        "after": {"quantise": {"bits": 2, "when": "after"}},
    }
    recipe = _recipe(scorers=["gate_gradient"], variants=variants)
    specs, model = _specs(recipe), tiny_model("gpt2", seed=3)
    pruner = Pruner(model, byte_tokenizer(), recipe, specs)
    plans = {str(spec.variant): pruner.prune(spec).report.plan for spec in specs}
    # what is rounded afterwards is scored as it is, and `joint` as `scores`
    assert len(passes) == 2
    assert plans["plain"].scores == plans["after"].scores
    assert plans["scores"].scores == plans["joint"].scores != plans["plain"].scores
    for spec in specs:
        text = calibration_module.calibration_set(spec.calibration, None)  # type: ignore[arg-type]
        assert plans[str(spec.variant)] == prune(model, spec, calibration=text).report.plan
