"""Specs are frozen, strict, and identified by a fingerprint."""

import pytest
from pydantic import ValidationError

from sentinel_research.specs import EvalSpec, ModelSpec, PruneGrid, PruneSpec, Recipe, TrainSpec

SEEDED = {"random": True, "magnitude": False}


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
        ModelSpec()
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
    cells = [(c.scorer, c.fraction, c.seed) for c in grid.cells(SEEDED)]
    assert cells == [
        ("random", 0.25, 3),
        ("random", 0.25, 4),
        ("random", 0.5, 3),
        ("random", 0.5, 4),
        ("magnitude", 0.25, 3),
        ("magnitude", 0.5, 3),
    ]


def test_grid_hands_its_shared_settings_to_every_cell() -> None:
    grid = PruneGrid(
        scorers=["magnitude"],
        fractions=[0.5],
        scope="global",
        form="mask",
        granularity="kv_group",
        min_heads_per_layer=0,
        calibration={"corpus": "ptb"},
    )
    (cell,) = grid.cells(SEEDED)
    assert (cell.scope, cell.form, cell.granularity) == ("global", "mask", "kv_group")
    assert cell.min_heads_per_layer == 0
    assert cell.calibration is not None
    assert cell.calibration.corpus == "ptb"


@pytest.mark.parametrize("field", ["scorers", "fractions", "seeds"])
def test_grid_refuses_a_value_twice(field: str) -> None:
    content: dict[str, object] = {"scorers": ["random"], "fractions": [0.5], "seeds": [0]}
    content[field] = [*content[field], *content[field]]  # type: ignore[misc]
    with pytest.raises(ValidationError, match="twice"):
        PruneGrid.model_validate(content)


def test_masked_models_cannot_be_saved() -> None:
    with pytest.raises(ValidationError, match="form: remove"):
        PruneGrid(scorers=["random"], fractions=[0.5], form="mask", save_models=True)
