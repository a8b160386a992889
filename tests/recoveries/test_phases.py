"""Phases of a recovery: one token budget, rounded once, and refused before anything is trained."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import DataError, UsageError
from sentinel_research.recoveries import Adjustment, Phase
from sentinel_research.recoveries.phases import compose, phase_specs
from sentinel_research.specs import TrainSpec
from tests.recoveries.conftest import TRAIN, recovered, spec_of, subject

THREE = [
    {"name": "one", "share": 0.5, "trains": "all"},
    {"name": "two", "share": 0.5, "trains": "all", "batch_factor": 2},
]


@given(
    parts=strategies.lists(strategies.integers(1, 20), min_size=1, max_size=5),
    factors=strategies.lists(strategies.integers(1, 4), min_size=5, max_size=5),
    num_steps=strategies.integers(100, 5000),
)
def test_phases_read_what_one_training_reads_up_to_half_a_step(
    parts: list[int], factors: list[int], num_steps: int
) -> None:
    spec = TrainSpec(**{**TRAIN, "num_steps": num_steps})
    phases = [
        Phase(name=str(index), share=part / sum(parts), batch_factor=factor)
        for index, (part, factor) in enumerate(zip(parts, factors, strict=False))
    ]
    try:
        specs = phase_specs(spec, phases)
    except UsageError:
        # twenty of one hundred parts of a hundred steps leave no phase without a step of four
        assert num_steps * min(parts) / sum(parts) < 2 * max(factors)
        return
    read = sum(one.num_steps * one.batch_size for one in specs)
    assert abs(read - num_steps * spec.batch_size) <= specs[-1].batch_size / 2
    # the boundary in front of every phase is rounded too
    for one, phase in zip(specs, phases, strict=True):
        share = one.num_steps * one.batch_size / (num_steps * spec.batch_size)
        assert abs(share - phase.share) * num_steps <= max(factors)


def test_one_phase_is_the_training_itself() -> None:
    spec = TrainSpec(**TRAIN)
    assert phase_specs(spec, compose({}, [])) == [spec]


def test_every_phase_reads_the_text_in_an_order_of_its_own() -> None:
    phases = [Phase(name=name, share=0.5) for name in "ab"]
    seeds = [
        one.seed for seed in (0, 1) for one in phase_specs(TrainSpec(**TRAIN, seed=seed), phases)
    ]
    assert len(set(seeds)) == 4
    assert (seeds[0], seeds[2]) == (0, 1)


def test_phase_without_a_whole_step_is_refused() -> None:
    phases = [Phase(name="most", share=0.9), Phase(name="rest", share=0.1, batch_factor=4)]
    with pytest.raises(UsageError, match=r"phase 'rest' has 0.1 of 6 steps") as caught:
        phase_specs(TrainSpec(**{**TRAIN, "num_steps": 6}), phases)
    assert "`train.num_steps`" in caught.value.hint


def test_factors_follow_parameters_that_a_later_method_renames() -> None:
    made = [
        Adjustment(factors={"a": 0.5}, phases=(Phase(name="p", share=1.0, factors={"a": 0.25}),)),
        Adjustment(renamed={"a": "b"}, factors={"b": torch.tensor(0.5)}),
    ]
    (phase,) = compose({"a": 1.0, "c": 0.0}, made)
    assert {name: float(factor) for name, factor in phase.factors.items()} == {"b": 0.0625, "c": 0}


def _never(*_: Any, **__: Any) -> None:
    raise AssertionError("a phase was trained")


@pytest.mark.parametrize(
    ("methods", "error", "message"),
    [
        (
            {"progressive": {"phases": [THREE[0], {**THREE[1], "batch_factor": 3}]}},
            DataError,
            "fewer than one batch of 12",
        ),
        (
            {"component_lr": dict.fromkeys(
                ("embeddings", "attention", "feed_forward", "norms"), 0)},
            UsageError,
            "nothing is left to train in the phase 'whole'",
        ),
    ],
    ids=["batch", "nothing"],
)  # fmt: skip
def test_phase_that_cannot_be_trained_is_refused_before_the_first(
    methods: dict[str, dict[str, Any]],
    error: type[Exception],
    message: str,
    text: TrainingSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sentinel_research.recoveries.stage.train", _never)
    few = text._replace(blocks=np.asarray(text.blocks[:10]))
    with pytest.raises(error, match=message):
        recovered(subject(), spec_of(methods), few)
