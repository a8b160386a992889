"""Two tiny stored models, and a sweep over both that tests only read."""

from typing import Any, NamedTuple

import pytest

from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.recipe import parse
from sentinel_research.record import RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.sweep import Swept, run_sweep

TASK = "sentinel_synthetic"


class Finished(NamedTuple):
    """A sweep that came to its end."""

    recipe: Recipe
    swept: Swept


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Overrides of a recipe's `model`, by name."""
    folder = tmp_path_factory.mktemp("models")
    for name, family in (("one", "gpt2"), ("other", "llama")):
        save(tiny_model(family, seed=1), byte_tokenizer(), folder / name)
    return {name: {"pretrained": str(folder / name)} for name in ("one", "other")}


def sweep_recipe(models: dict[str, Any], **sections: Any) -> Recipe:
    """Two scorers at two fractions, one of them random, without calibration text."""
    content = {
        "name": "grid",
        "description": "a grid",
        "model": {},
        "prune": {"scorers": ["magnitude_l2", "random"], "fractions": [0.4, 0.6]},
        "evaluate": {"tasks": [TASK], "limit": 3, "max_length": 32, "prefix_token_id": 10},
        "sweep": {"models": models},
        **sections,
    }
    return parse(Recipe, content, "test")


@pytest.fixture(scope="session")
def finished(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two models, five cells each."""
    recipe = sweep_recipe(models)
    return Finished(recipe, run_sweep(recipe, tmp_path_factory.mktemp("sweep") / "grid"))


def values(record: RunRecord) -> dict[str, float]:
    """Every number that was measured, by cell, task and metric."""
    return {
        f"{cell.id}/{one.task}/{one.metric}": one.value
        for cell in record.cells
        if cell.evaluation is not None
        for one in cell.evaluation.measurements
    }
