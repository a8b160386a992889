"""A tiny pruned model and text to train it back on."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import PruningPlan, prune
from sentinel_research.recoveries import Recovered, RecoveryInputs, recover
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.specs import PruneSpec, RecoverSpec, TrainSpec
from sentinel_research.training.watch import Watch

LENGTH = 16
TRAIN = {"corpus": "synthetic", "num_steps": 6, "batch_size": 4, "sequence_length": LENGTH}


def blocks_of(num: int, seed: int) -> np.ndarray:
    """Rows that count upwards from a random byte, `[num, LENGTH]`."""
    starts = np.random.default_rng(seed).integers(0, 200, size=(num, 1))
    return (starts + np.arange(LENGTH)) % 256


@pytest.fixture(scope="session")
def text() -> TrainingSet:
    """Blocks to train and to validate on."""
    return TrainingSet(blocks_of(24, 0), blocks_of(6, 1), {"blocks_sha256": "test"})


class Subject(NamedTuple):
    """A model before and after pruning."""

    dense: PreTrainedModel
    pruned: PreTrainedModel
    spec: PruneSpec
    plan: PruningPlan


def subject(family: str = "gpt2", config: dict[str, Any] | None = None, **changes: Any) -> Subject:
    """A tiny model without 40 percent of its heads, or what `changes` of the pruning ask for."""
    spec = PruneSpec(**{"scorer": "magnitude_l2", "fraction": 0.4, **changes})
    dense = tiny_model(family, seed=2, **(config or {}))
    pruned = prune(dense, spec)
    return Subject(dense, pruned.model, spec, pruned.report.plan)


def spec_of(methods: dict[str, dict[str, Any]] | None = None, **train: Any) -> RecoverSpec:
    """Six steps that move every weight, decay and momentum included."""
    given = {**TRAIN, "learning_rate": 0.01, "weight_decay": 0.2, **train}
    return RecoverSpec(methods=methods or {"full": {}}, train=TrainSpec.model_validate(given))


def recovered(one: Subject, spec: RecoverSpec, text: TrainingSet, **options: Any) -> Recovered:
    """`recover`, with everything that a run hands it."""
    if spec.train.validate_every is None:
        text = text._replace(validation=None)
    return recover(
        one.pruned,
        spec,
        byte_tokenizer(),
        plan=one.plan,
        prune=one.spec,
        teacher=one.dense,
        data=text,
        **options,
    )


def calibration(num: int = 6) -> CalibrationSet:
    """Text for scorers."""
    return CalibrationSet.of(torch.from_numpy(blocks_of(num, 2)))


def pruned_in_training(
    dense: PreTrainedModel, prune: PruneSpec, spec: RecoverSpec, text: TrainingSet, **options: Any
) -> Recovered:
    """`recover` by a method that prunes, with everything that a run hands it."""
    return recover(
        dense,
        spec,
        byte_tokenizer(),
        prune=prune,
        teacher=dense,
        **{"data": text._replace(validation=None), "calibration": calibration(), **options},
    )


def inputs_of(
    one: Subject, text: TrainingSet, methods: dict[str, dict[str, Any]] | None = None
) -> RecoveryInputs:
    """What `recover` hands a method; the model is the subject's own, not a copy."""
    return RecoveryInputs(
        model=one.pruned,
        tokenizer=byte_tokenizer(),
        spec=spec_of(methods),
        data=text._replace(validation=None),
        plan=one.plan,
        prune=one.spec,
        calibration=None,
        teacher=one.dense,
        folder=Path("unused"),
    )


def changed(before: PreTrainedModel, after: PreTrainedModel) -> set[str]:
    """Parameters that are new, or of which any bit differs."""
    old = dict(before.named_parameters())
    return {
        name
        for name, new in after.named_parameters()
        if name not in old or not torch.equal(new, old[name])
    }


def assert_held(one: Subject, after: PreTrainedModel) -> None:
    """What pruning took out keeps every bit."""
    before = dict(one.pruned.named_parameters())
    for name, factor in held(one.pruned, one.plan).items():
        still = factor.expand_as(before[name]) == 0
        assert torch.equal(after.get_parameter(name)[still], before[name][still]), name


class PowerCutError(Exception):
    """Stands for a power cut."""


@contextlib.contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """Training inside the block ends at the end of its `at`-th step, all phases counted."""
    original, count = Watch.on_step_end, itertools.count(1)

    def fails(self: Watch, args: Any, state: Any, control: Any, **about: Any) -> None:
        original(self, args, state, control, **about)
        if next(count) == at:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", fails)
        yield


def assert_resumes_exactly(
    one: Subject,
    spec: RecoverSpec,
    text: TrainingSet,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int = 4,
) -> None:
    """An interrupted recovery ends with the bits of an uninterrupted one."""
    whole = recovered(one, spec, text, folder=folder / "whole").model
    with cut_off(monkeypatch, at), pytest.raises(PowerCutError):
        recovered(one, spec, text, folder=folder / "cut")
    torch.manual_seed(99)
    again = recovered(one, spec, text, folder=folder / "cut").model
    assert not changed(whole, again)
