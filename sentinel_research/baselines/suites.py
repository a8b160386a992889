"""A suite of models that are measured alike: `FOLDER/SUITE/suite.yaml`, beside what is kept of it.

Every model is a recipe: what all have in common, and what is its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sentinel_research.baselines.store import DEFAULT_FOLDER
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.recipe import parse, read_yaml
from sentinel_research.specs import Recipe
from sentinel_research.specs.base import Spec
from sentinel_research.specs.baseline import Name, Tolerance

SUITE_FILE = "suite.yaml"
Need = Literal["data", "models", "cuda"]


class Suite(Spec):
    """Models that are measured alike."""

    name: Name
    """Its folder."""
    description: str
    """What it guards, in a sentence or two."""
    needs: tuple[Need, ...] = ()
    """What has to be there: `data` and `models` are the folders SENTINEL_DATA and SENTINEL_MODELS,
    `cuda` is a GPU. Without it the suite is skipped."""
    tolerances: dict[str, Tolerance] = Field(default_factory=dict)
    """See `BaselineSpec.tolerances`."""
    common: dict[str, Any] = Field(default_factory=dict)
    """Keys of a recipe that all models have in common."""
    models: dict[Name, dict[str, Any]] = Field(min_length=1)
    """Keys of each model's recipe, laid over the common ones key by key."""

    def recipe(self, model: str) -> Recipe:
        """The recipe of one model.

        Raises:
            UsageError: for an unknown model, key or value.
        """
        if model not in self.models:
            raise UsageError(
                f"the suite '{self.name}' has no model '{model}'", did_you_mean(model, self.models)
            )
        own = {
            "name": f"{self.name}-{model}".lower().replace(".", "-"),
            "description": self.description,
            "baseline": {"suite": self.name, "model": model, "tolerances": self.tolerances},
        }
        content = _laid_over(_laid_over(self.common, self.models[model]), own)
        return parse(Recipe, content, f"{self.name}, {model}")


def read_suite(name: str, folder: Path = DEFAULT_FOLDER) -> Suite:
    """Read a suite.

    Args:
        name: Its folder.
        folder: Of all suites.

    Raises:
        UsageError: if there is none of that name, or its file is wrong.
    """
    known = suites(folder)
    if name not in known:
        raise UsageError(f"no suite '{name}' in {folder}", did_you_mean(name, known))
    path = folder / name / SUITE_FILE
    return parse(Suite, {"name": name, **read_yaml(path, Suite)}, str(path))


def suites(folder: Path = DEFAULT_FOLDER) -> list[str]:
    """The names of all suites of a folder."""
    return sorted(path.parent.name for path in folder.glob(f"*/{SUITE_FILE}"))


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _laid_over(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping)
    }
    return {**below, **above, **both}
