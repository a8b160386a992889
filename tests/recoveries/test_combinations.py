"""Methods compose in pairs, in both orders, or say why they do not."""

import itertools
import json
from typing import Any

import pytest

from sentinel_research import registry
from sentinel_research.cli.listing import listing
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from tests.recoveries.conftest import assert_held, changed, recovered, spec_of, subject

PHASES = [
    {"name": "first", "share": 0.5, "trains": "critical_heads"},
    {"name": "then", "share": 0.5},
]
OPTIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "heads": {},
    "per_head_lr": {},
    "component_lr": {},
    "progressive": {"phases": PHASES},
    "lora": {"r": 2},
    "gates": {"add": "static"},
    "distill": {"hidden_weight": 0.1},
    "quantise": {"bits": 4},
}
PAIRS = list(itertools.combinations(OPTIONS, 2))


def _excluded(one: str, other: str) -> bool:
    return (
        other in registry.get("recoveries", one).excludes
        or one in registry.get("recoveries", other).excludes
    )


def _options(pair: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found = {name: OPTIONS[name] for name in pair}
    if "progressive" in pair and {"lora", "gates"} & set(pair):
        found["progressive"] = {"phases": [{**phase, "trains": "all"} for phase in PHASES]}
    return found


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not _excluded(*pair)], ids="-".join)
def test_pair_that_composes_trains_and_holds_what_is_gone(
    pair: tuple[str, str], text: TrainingSet
) -> None:
    # weights at zero are what every method could change
    one = subject(granularity="weight", fraction=0.5)
    found = recovered(one, spec_of(_options(pair), num_steps=2), text)
    assert_held(one, found.model)
    assert changed(one.pruned, found.model)
    json.dumps(found.report, allow_nan=False)


@pytest.mark.parametrize(
    "pair",
    list(itertools.combinations(("heads", "per_head_lr", "component_lr"), 2)),
    ids="-".join,
)
def test_order_of_factors_does_not_matter(pair: tuple[str, str], text: TrainingSet) -> None:
    one = subject()
    runs = [
        recovered(one, spec_of(_options(each), num_steps=2), text).model
        for each in (pair, pair[::-1])
    ]
    assert not changed(*runs)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if _excluded(*pair)], ids="-".join)
def test_pair_that_makes_no_sense_is_refused_with_the_reason(
    pair: tuple[str, str], text: TrainingSet
) -> None:
    for each in (pair, pair[::-1]):
        with pytest.raises(UsageError, match=r"exclude each other: .{20}"):
            recovered(subject(), spec_of(_options(each)), text)


def test_methods_are_listed_with_their_sources() -> None:
    lines = {line.split()[0]: line for line in listing("recoveries")}
    assert set(OPTIONS) <= lines.keys()
    assert "arxiv.org/abs/2106.09685" in lines["lora"]
    assert "arxiv.org/abs/1503.02531" in lines["distill"]
