"""The pytest plugin: an option and two fixtures; nothing heavy is loaded before a law is run."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest

OPTION = "--adapter"
_HINT = (
    f"name a function by {OPTION} MODULE:FUNCTION, or define the fixture make_adapter; it is given "
    "a model of transformers and the keywords tokenizer, batch_size and max_length, and returns an "
    "lm_eval.api.model.LM"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--adapter`."""
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
