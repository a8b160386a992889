"""Registries: lazy built-ins, entry points of others, and clear messages."""

import importlib.metadata

import pytest

from sentinel_research import registry
from sentinel_research.errors import UsageError


@pytest.mark.parametrize("group", ["scorers", "architectures", "recoveries"])
def test_every_registered_name_resolves_to_a_described_plugin(group: str) -> None:
    for name in registry.names(group):
        plugin = registry.get(group, name)
        assert plugin.name == name
        assert plugin.summary
        assert plugin.reference


def test_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown scorer 'magnitude_l3'") as caught:
        registry.get("scorers", "magnitude_l3")
    assert "Did you mean 'magnitude_l" in caught.value.hint
    assert "sentinel ls scorers" in caught.value.hint


def test_decorator_registers_a_new_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.REGISTRIES, "scorers", registry._filled("scorers"))

    @registry.scorer("first_heads", summary="s", reference="r", needs=("gate_gradient",))
    def first_heads(inputs: object) -> object:
        return inputs

    plugin = registry.get("scorers", "first_heads")
    assert plugin is first_heads
    assert plugin.calibrated
    assert plugin.units == ("head",)
    assert plugin(3) == 3


def test_entry_point_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("theirs", "os.path:join", "sentinel_research.scorers")

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        return [entry] if group == "sentinel_research.scorers" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert "theirs" in list(registry._filled("scorers"))


def test_name_taken_by_a_built_in_is_refused() -> None:
    with pytest.raises(ValueError, match="already registered"):

        @registry.scorer("magnitude_l2", summary="s", reference="r")
        def mine(inputs: object) -> object:
            return inputs
