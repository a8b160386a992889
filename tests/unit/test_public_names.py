"""The package's public names: lazy, and never shadowed by a submodule."""

import importlib
import pkgutil

import pytest

import sentinel_research


@pytest.mark.parametrize("name", sentinel_research.__all__)
def test_public_name_is_what_its_module_defines(name: str) -> None:
    module = importlib.import_module(sentinel_research._PUBLIC[name])
    assert getattr(sentinel_research, name) is getattr(module, name)


def test_no_submodule_has_the_name_of_a_public_function() -> None:
    submodules = {module.name for module in pkgutil.iter_modules(sentinel_research.__path__)}
    assert not submodules & set(sentinel_research.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prunes'"):
        _ = sentinel_research.prunes  # type: ignore[attr-defined]
