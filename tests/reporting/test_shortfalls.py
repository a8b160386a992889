"""Shares that were asked for and not reached, in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import prune
from sentinel_research.record import RunRecord
from sentinel_research.reporting import report
from sentinel_research.reporting.shortfalls import find_shortfall
from sentinel_research.specs import PruneSpec


def _pruned(**fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    # 3 layers of 8 heads in 4 groups and 37 neurons
    spec = PruneSpec(scorer="random", **fields)
    found = prune(tiny_model("llama"), spec).report
    return spec.model_dump(mode="json"), found.model_dump(mode="json")


@pytest.mark.parametrize(
    ("fields", "achieved", "reason"),
    [
        ({"fraction": 1.0}, 21 / 24, "min_per_layer 1 keeps the rest"),
        ({"fraction": 1.0, "min_per_layer": 5}, 9 / 24, "min_per_layer 5 keeps the rest"),
        ({"fraction": 0.7}, 15 / 24, "rounded down to whole units in every layer"),
        (
            {"fraction": 0.9, "granularity": "kv_group", "scope": "global"},
            9 / 12,
            "min_per_layer 1 keeps the rest",
        ),
        (
            {"fraction": 1.0, "scope": "global", "budget": "parameters", "min_per_layer": 2},
            18 / 24,
            "min_per_layer 2 keeps the rest",
        ),
    ],
    ids=["all", "minimum", "rounded", "groups", "parameters"],
)
def test_share_that_was_not_reached_has_a_reason(
    fields: dict[str, Any], achieved: float, reason: str
) -> None:
    found = find_shortfall(*_pruned(**fields))
    assert found is not None
    assert (found.requested, found.reason) == (fields["fraction"], reason)
    if found.budget == "units":
        assert found.achieved == pytest.approx(achieved)
    assert f"{fields['fraction']:g} of the {found.budget} was asked for" in found.in_words()


@pytest.mark.parametrize(
    "fields",
    [
        {"fraction": 0.5},
        {"fraction": 0.51, "scope": "global"},
        {"fraction": 0.5, "scope": "global", "budget": "parameters"},
        {"fraction": 0.5, "granularity": ("head", "neuron"), "scope": "global", "budget": "flops"},
        {"fraction": 0.5, "granularity": "layer"},
    ],
    ids=["reached", "less than a unit", "parameters", "two kinds", "blocks"],
)
def test_share_that_was_reached_to_a_unit_is_no_shortfall(fields: dict[str, Any]) -> None:
    assert find_shortfall(*_pruned(**fields)) is None


def test_report_names_what_was_asked_for_and_not_reached(
    make_cell: Any, make_record: Any, write: Callable[[RunRecord], Path]
) -> None:
    cells = [make_cell(22.0, "random", 1.0, seed) for seed in (0, 1)]
    for cell in cells:
        cell.prune_spec, cell.prune = _pruned(fraction=1.0, seed=cell.prune_spec["seed"])
    found = report(write(make_record([make_cell(20.0), *cells])))
    words = "random at 1: 1 of the units was asked for, 0.875 was removed (min_per_layer 1 keeps"
    assert found.markdown.read_text(encoding="utf-8").count(words) == 1
    assert words in found.html.read_text(encoding="utf-8")
