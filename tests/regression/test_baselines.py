"""Every model of every suite gives the numbers that are kept of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.baselines import read_suite, suites
from sentinel_research.data.mirror import VARIABLE
from sentinel_research.pipeline import run

FOLDER = Path(__file__).parents[2] / "regression_baselines"
MODELS = "SENTINEL_MODELS"


def _cases() -> Iterator[Any]:
    for name in suites(FOLDER):
        suite = read_suite(name, FOLDER)
        for model in suite.models:
            marks = [pytest.mark.xdist_group(f"{name}-{model}")]
            marks += [pytest.mark.gpu] if "cuda" in suite.needs else []
            yield pytest.param(name, model, marks=marks, id=f"{name}-{model}")


@pytest.fixture
def needed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Brings what a suite needs, or skips."""

    def bring(needs: tuple[str, ...]) -> None:
        for need, variable, fixture in (
            ("data", VARIABLE, "mirror"),
            ("models", MODELS, "real_models"),
        ):
            if need in needs:
                monkeypatch.setenv(variable, str(request.getfixturevalue(fixture)))
        if "cuda" in needs:
            import torch

            if not torch.cuda.is_available():
                pytest.skip("no GPU")

    return bring


@pytest.mark.parametrize(("suite", "model"), list(_cases()))
def test_model_gives_the_numbers_that_are_kept_of_it(
    suite: str,
    model: str,
    needed: Callable[..., None],
    regression_baseline: Callable[..., None],
    tmp_path: Path,
) -> None:
    found = read_suite(suite, FOLDER)
    needed(found.needs)
    run(found.recipe(model), tmp_path)
    regression_baseline(tmp_path)
