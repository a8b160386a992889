"""The pytest plugin: an option, a setting, three fixtures; what they need is loaded when used."""

import importlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OPTION = "--adapter"
FOLDER_SETTING = "regression_baselines"
_HINT = (
    f"name a function by {OPTION} MODULE:FUNCTION, or define the fixture make_adapter; it is given "
    "a model of transformers and the keywords tokenizer, batch_size and max_length, and returns an "
    "lm_eval.api.model.LM"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--adapter`, and `regression_baselines` to what a configuration file sets."""
    parser.addini(
        FOLDER_SETTING,
        "folder of kept baselines, from the root of the tests",
        default="regression_baselines",
    )
    group = parser.getgroup("sentinel_research", "laws of lm-eval's models")
    group.addoption(
        OPTION,
        metavar="MODULE:FUNCTION",
        help="makes the adapter that sentinel_research.testing.adapter_laws judges",
    )


@pytest.fixture
def make_adapter(pytestconfig: pytest.Config) -> Callable[..., Any]:
    """Makes the adapter that is judged: `make_adapter(model, tokenizer=, batch_size=, ...)`."""
    name = pytestconfig.getoption(OPTION)
    if name is None:
        pytest.fail(f"there is no adapter to judge: {_HINT}", pytrace=False)
    return imported(name)


@pytest.fixture
def regression_baseline(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Judges a finished run by what is kept: `regression_baseline(run_folder)`.

    With `suite=` and `model=` for a run whose recipe names neither. It fails with every difference
    and with the command that accepts them.
    """
    folder = pytestconfig.rootpath / pytestconfig.getini(FOLDER_SETTING)

    def judge(run: Path, *, suite: str | None = None, model: str | None = None) -> None:
        from sentinel_research.baselines import check_record, read_run
        from sentinel_research.errors import BaselineError

        named = [
            word
            for flag, value in (("--folder", folder), ("--suite", suite), ("--model", model))
            if value is not None
            for word in (flag, str(value))
        ]
        accept = shlex.join(["sentinel", "baseline", "accept", str(run), *named])
        try:
            judged = check_record(read_run(run, suite, model), folder)
        except BaselineError as error:
            pytest.fail(f'{error}\n  {accept} --why "..."', pytrace=False)
        if judged.findings:
            pytest.fail(
                f'{judged}\nif the new numbers are right: {accept} --why "..."', pytrace=False
            )

    return judge


@pytest.fixture
def judged_model() -> Any:
    """The model that adapters are judged on: a GPT-2 of a few thousand random weights."""
    from sentinel_research.models.tiny import tiny_model

    return tiny_model("gpt2")


def imported(name: str) -> Callable[..., Any]:
    """A function by `MODULE:FUNCTION`."""
    module, colon, function = name.partition(":")
    if not colon:
        pytest.fail(f"{OPTION} {name} names no function: {_HINT}", pytrace=False)
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
