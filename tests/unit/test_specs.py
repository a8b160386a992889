"""Specs are frozen, strict, and identified by a fingerprint."""

import pytest
import yaml
from pydantic import ValidationError

from sentinel_research.specs import (
    CalibrationSpec,
    EvalSpec,
    ModelSpec,
    PruneGrid,
    PruneSpec,
    Recipe,
    TrainSpec,
)

SEEDED = {"random": True, "magnitude": False, "entropy": False}
CALIBRATED = {"random": False, "magnitude": False, "entropy": True}


def _recipe(**changes: object) -> Recipe:
    content = {
        "name": "r",
        "description": "d",
        "model": {"pretrained": "x"},
        "evaluate": {"tasks": ["t"]},
        **changes,
    }
    return Recipe.model_validate(content)


def test_spec_cannot_be_changed() -> None:
    spec = EvalSpec(tasks=["t"])
    with pytest.raises(ValidationError, match="frozen"):
        spec.limit = 3  # type: ignore[misc]


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan")])
def test_fraction_outside_zero_to_one_is_refused(fraction: float) -> None:
    with pytest.raises(ValidationError):
        PruneSpec(scorer="random", fraction=fraction)
    with pytest.raises(ValidationError, match=r"\[0, 1\]"):
        PruneGrid(scorers=["random"], fractions=[fraction])


def test_model_needs_exactly_one_source() -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        _recipe(model={})
    with pytest.raises(ValidationError, match="exactly one"):
        ModelSpec(pretrained="a", architecture="gpt2")


def test_training_goes_with_an_architecture_and_only_with_it() -> None:
    training = TrainSpec(corpus="synthetic", num_steps=1).model_dump()
    with pytest.raises(ValidationError, match="only with it"):
        _recipe(train=training)
    with pytest.raises(ValidationError, match="only with it"):
        _recipe(model={"architecture": "gpt2"})


def test_fingerprint_changes_with_any_value_and_only_then() -> None:
    assert _recipe().fingerprint() == _recipe().fingerprint()
    assert _recipe().fingerprint() != _recipe(evaluate={"tasks": ["t"], "limit": 1}).fingerprint()


def test_grid_repeats_only_seeded_scorers_over_seeds() -> None:
    grid = PruneGrid(scorers=["random", "magnitude"], fractions=[0.5, 0, 0.25], seeds=[3, 4])
    cells = [(c.scorer, c.fraction, c.seed) for c in grid.cells(SEEDED, CALIBRATED)]
    assert cells == [
        ("random", 0.25, 3),
        ("random", 0.25, 4),
        ("random", 0.5, 3),
        ("random", 0.5, 4),
        ("magnitude", 0.25, 3),
        ("magnitude", 0.5, 3),
    ]


def test_grid_repeats_only_calibrated_scorers_over_calibration_seeds() -> None:
    grid = PruneGrid(
        scorers=["random", "entropy"],
        fractions=[0.5],
        seeds=[3, 4],
        calibration={"corpus": "ptb", "num_sequences": 7, "seed": 1},
        calibration_seeds=[8, 9],
    )
    cells = grid.cells(SEEDED, CALIBRATED)
    found = [(c.scorer, c.seed, c.calibration.seed) for c in cells if c.calibration]
    assert found == [("random", 3, 8), ("random", 4, 8), ("entropy", 3, 8), ("entropy", 3, 9)]
    assert {c.calibration.num_sequences for c in cells if c.calibration} == {7}


def test_scorer_with_both_kinds_of_seed_is_repeated_over_their_pairs() -> None:
    grid = PruneGrid(
        scorers=["both"],
        fractions=[0.5],
        seeds=[3, 4],
        calibration={"corpus": "ptb"},
        calibration_seeds=[8, 9],
    )
    cells = grid.cells({"both": True}, {"both": True})
    found = [(c.seed, c.calibration.seed) for c in cells if c.calibration]
    assert found == [(3, 8), (3, 9), (4, 8), (4, 9)]


def test_grid_draws_calibration_once_without_calibration_seeds() -> None:
    given = CalibrationSpec(corpus="ptb", seed=5)
    grid = PruneGrid(scorers=["entropy"], fractions=[0.5], calibration=given)
    assert grid.calibrations == [given]
    assert [cell.calibration for cell in grid.cells(SEEDED, CALIBRATED)] == [given]
    assert PruneGrid(scorers=["random"], fractions=[0.5]).calibrations == []


def test_calibration_seeds_need_calibration() -> None:
    with pytest.raises(ValidationError, match="needs `calibration`"):
        PruneGrid(scorers=["entropy"], fractions=[0.5], calibration_seeds=[1])


def test_variants_calibrate_on_texts_of_their_own() -> None:
    grid = PruneGrid(
        scorers=["entropy"],
        fractions=[0.5],
        calibration_seeds=[1, 2],
        variants={
            "story": {"calibration": {"corpus": "tinystories"}},
            "film": {"calibration": {"task": "sst2"}},
            "blind": {"scorers": ["magnitude"]},
        },
    )
    draws = [
        *(CalibrationSpec(corpus="tinystories", seed=seed) for seed in (1, 2)),
        *(CalibrationSpec(task="sst2", seed=seed) for seed in (1, 2)),
    ]
    assert grid.calibrations == draws
    found = [(cell.variant, cell.calibration) for cell in grid.cells(SEEDED, CALIBRATED)]
    named = zip(["story", "story", "film", "film"], draws, strict=True)
    assert found == [*named, ("blind", None)]


def test_draws_that_variants_share_are_listed_once() -> None:
    grid = PruneGrid(
        scorers=["entropy"],
        fractions=[0.5],
        calibration={"corpus": "ptb"},
        variants={"plain": {}, "all": {"scope": "global"}, "own": {"calibration": {"task": "a"}}},
    )
    assert grid.calibrations == [CalibrationSpec(corpus="ptb"), CalibrationSpec(task="a")]


def test_calibration_needs_exactly_one_source() -> None:
    for content in ({}, {"corpus": "ptb", "task": "sst2"}):
        with pytest.raises(ValidationError, match="exactly one of `corpus` and `task`"):
            CalibrationSpec.model_validate(content)


def test_grid_hands_its_shared_settings_to_every_cell() -> None:
    grid = PruneGrid(
        scorers=["magnitude"],
        fractions=[0.5],
        scope="global",
        form="mask",
        granularity=("kv_group", "neuron"),
        budget="parameters",
        normalise="layer",
        compensate="bias",
        min_per_layer=0,
        calibration={"corpus": "ptb"},
        quantise={"bits": 4, "when": "before"},
    )
    (cell,) = grid.cells(SEEDED, CALIBRATED)
    # units that are named make a cell of their own
    shared = set(PruneGrid.model_fields) & set(PruneSpec.model_fields) - {"units"}
    assert len(shared) == 10
    for field in shared:
        assert getattr(cell, field) == getattr(grid, field), field


@pytest.mark.parametrize("field", ["scorers", "fractions", "seeds", "calibration_seeds"])
def test_grid_refuses_a_value_twice(field: str) -> None:
    content: dict[str, object] = {
        "scorers": ["random"],
        "fractions": [0.5],
        "seeds": [0],
        "calibration": {"corpus": "ptb"},
        "calibration_seeds": [0],
    }
    content[field] = [*content[field], *content[field]]  # type: ignore[misc]
    with pytest.raises(ValidationError, match="twice"):
        PruneGrid.model_validate(content)


def test_masked_models_cannot_be_saved() -> None:
    with pytest.raises(ValidationError, match="form: remove"):
        PruneGrid(scorers=["random"], fractions=[0.5], form="mask", save_models=True)


@pytest.mark.parametrize("spec", [PruneSpec, PruneGrid])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"granularity": ("head", "head")}, "each once", id="twice"),
        pytest.param({"granularity": ()}, "one or more", id="none"),
        pytest.param({"granularity": ("weight", "head")}, "together", id="weights-and-heads"),
        pytest.param({"granularity": ("layer", "ffn")}, "overlap", id="layer-and-block"),
        pytest.param({"granularity": ("kv_group", "head")}, "overlap", id="group-and-head"),
        *[
            pytest.param({"granularity": kinds, **more}, "would count twice", id="+".join(kinds))
            for kinds, more in (
                (("head", "attention"), {}),
                (("kv_group", "attention"), {"scope": "global"}),
                (("neuron", "ffn"), {"budget": "parameters"}),
                (("head", "layer"), {"budget": "flops", "scope": "local"}),
                (("kv_group", "layer"), {}),
                (("layer", "neuron"), {}),
            )
        ],
        *[
            pytest.param(
                {"granularity": kinds, "normalise": "layer"}, f"scores of {block}", id=block
            )
            for kinds, block in (
                ("attention", "attention"),
                (("head", "ffn"), "ffn"),
                ("layer", "layer"),
            )
        ],
        pytest.param({"granularity": "weight", "transfer_from": "x"}, "transferred", id="moved"),
        pytest.param({"granularity": "2:4", "transfer_from": "x"}, "transferred", id="2:4-moved"),
        pytest.param({"granularity": "2:4", "fraction": 0.25}, "exactly half", id="2:4"),
        pytest.param({"granularity": "weight", "compensate": "bias"}, "updates", id="bias"),
        pytest.param({"granularity": "weight", "budget": "flops"}, "budget: flops", id="budget"),
        pytest.param({"granularity": "weight", "min_per_layer": 2}, "inside a matrix", id="min"),
        pytest.param({"granularity": "2:4", "scope": "global"}, "four weights", id="2:4-global"),
        pytest.param({"granularity": "ffn", "compensate": "bias"}, "bias goes too", id="ffn-bias"),
        pytest.param({"granularity": "layer", "min_per_layer": 2}, "may go", id="layer-min"),
        pytest.param({"normalise": "layer", "scope": "local"}, "no two layers", id="local"),
    ],
)
def test_kinds_of_unit_that_do_not_fit_are_refused(
    spec: type[PruneSpec | PruneGrid], changes: dict[str, object], message: str
) -> None:
    fraction = changes.get("fraction", 0.5)
    rest = {field: value for field, value in changes.items() if field != "fraction"}
    given: dict[str, object] = {"scorer": "random", "fraction": fraction}
    if spec is PruneGrid:
        given = {"scorers": ["random"], "fractions": [fraction]}
    with pytest.raises(ValidationError, match=message):
        spec.model_validate({**given, **rest})


@pytest.mark.parametrize("budget", ["parameters", "flops"])
def test_block_and_its_parts_go_together_where_their_union_is_counted(budget: str) -> None:
    spec = PruneSpec(
        scorer="random",
        fraction=0.5,
        granularity=("head", "neuron", "layer"),
        scope="global",
        budget=budget,
    )
    assert spec.granularities == ("head", "neuron", "layer")


def test_unquoted_two_of_four_is_understood() -> None:
    read = yaml.safe_load("granularity: 2:4")
    assert read == {"granularity": 124}
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, **read)
    assert spec.granularities == ("2:4",)


def test_variant_changes_only_what_it_names() -> None:
    grid = PruneGrid(
        scorers=["random"],
        fractions=[0.5],
        scope="global",
        variants={
            "units": {"granularity": ["head", "neuron"]},
            "weights": {"granularity": "weight"},
        },
    )
    first, second = grid.cells(SEEDED, CALIBRATED)
    assert (first.variant, first.granularities) == ("units", ("head", "neuron"))
    assert (second.variant, second.granularities) == ("weights", ("weight",))
    assert first.scope == second.scope == "global"


def test_variant_that_makes_no_sense_is_refused_with_the_recipe() -> None:
    with pytest.raises(ValidationError, match="exactly half"):
        PruneGrid(scorers=["random"], fractions=[0.3], variants={"a": {"granularity": "2:4"}})


def test_rounding_belongs_to_weights_that_are_loaded() -> None:
    with pytest.raises(ValidationError, match="`quantise` rounds the weights of `pretrained`"):
        ModelSpec(architecture="gpt2", quantise={"bits": 4})


def test_younger_field_counts_only_where_it_is_not_at_its_default() -> None:
    plain = ModelSpec(pretrained="a")
    assert ModelSpec(pretrained="a", bits=None).fingerprint() == plain.fingerprint()
    assert ModelSpec(pretrained="a", bits=8).fingerprint() != plain.fingerprint()
