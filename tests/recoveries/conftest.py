"""A tiny pruned model and text to train it back on."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import PruningPlan, prune
from sentinel_research.recoveries import Recovered, recover
from sentinel_research.specs import PruneSpec, RecoverSpec, TrainSpec

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
