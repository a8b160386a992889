"""What a sweep may ask for."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.recipe import load_recipe
from sentinel_research.sweep.plan import Batch, batches, plan_sweep
from tests.sweep.conftest import sweep_recipe

MODELS: dict[str, Any] = {"one": {"pretrained": "a"}, "other": {"pretrained": "b"}}
BASELINE = {"suite": "s", "model": "m"}


def test_recipe_without_a_sweep_keeps_its_fingerprint() -> None:
    plain = load_recipe("demo").recipe
    assert "sweep" in plain.model_dump()
    # that of every record before there were sweeps
    assert plain.fingerprint() == "9e7872edfe01e446"


def test_recipe_of_a_model_is_the_sweeps_with_its_own_keys() -> None:
    recipe = sweep_recipe(MODELS, model={"dtype": "bfloat16"})
    own = recipe.of_model("other")
    assert own.sweep is None
    assert (own.model.pretrained, own.model.dtype) == ("b", "bfloat16")
    assert own.fingerprint() != recipe.of_model("one").fingerprint()
    assert recipe.fingerprint() not in (own.fingerprint(), recipe.of_model("one").fingerprint())


@pytest.mark.parametrize(
    ("models", "sections", "words"),
    [
        pytest.param({"m": {}}, {}, "`sweep.models.m`: give exactly one of", id="nothing"),
        pytest.param({"m": {"pretraind": "x"}}, {}, "`sweep.models.m`: `pretraind`", id="typo"),
        pytest.param({"../m": {}}, {}, "should match pattern", id="path"),
        pytest.param({}, {}, "give exactly one of `model.pretrained`", id="no model"),
        pytest.param(
            MODELS,
            {"baseline": {"suite": "s", "model": "m"}},
            "`baseline` names one",
            id="baseline",
        ),
        pytest.param(MODELS, {"evaluate": {"tasks": []}}, "name `evaluate.tasks`", id="no task"),
    ],
)
def test_sweep_that_makes_no_sense_is_refused(
    models: dict[str, Any], sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as refused:
        sweep_recipe(models, **sections)
    assert words in str(refused.value)


def test_batches_hold_every_cell_once_and_share_their_text() -> None:
    calibration = {"corpus": "synthetic", "num_sequences": 2, "sequence_length": 8}
    prune = {
        "scorers": ["magnitude_l2", "gate_gradient"],
        "fractions": [0.1, 0.2, 0.3, 0.4, 0.5],
        "calibration": calibration,
        "calibration_seeds": [0, 1],
    }
    recipe = sweep_recipe({"one": {"pretrained": "a"}}, prune=prune)
    cells = plan_sweep(recipe, Path("sweep"))["one"].cells
    texts = {cell.id: cell.prune.calibration if cell.prune else None for cell in cells}
    found = batches("one", cells, 2)
    assert sorted(cell for batch in found for cell in batch.cells) == sorted(texts)
    assert all(len({texts[cell] for cell in batch.cells}) == 1 for batch in found)
    assert max(len(batch.cells) for batch in found) <= 2
    assert batches("one", cells, 1) == [Batch("one", tuple(texts))]
    assert batches("one", [], 1) == []
