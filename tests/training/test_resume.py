"""Interruptions leave no mark: the same weights, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer

from sentinel_research.training import train
from sentinel_research.training.watch import Watch
from tests.training.conftest import DROPOUT, make_model, make_spec, same, weights


class _InterruptedError(Exception):
    """Stands for a power cut."""


def _interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = Watch.on_step_end

    def fails(self: Watch, args: Any, state: Any, control: Any, **about: Any) -> None:
        original(self, args, state, control, **about)
        if state.global_step == step:
            raise _InterruptedError

    monkeypatch.setattr(Watch, "on_step_end", fails)


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        pytest.param({}, 1, id="before-a-checkpoint"),
        pytest.param({}, 5, id="end-of-a-pass"),
        pytest.param({"accumulation_steps": 2}, 7, id="accumulation"),
        pytest.param({"validate_every": 3}, 7, id="validation"),
        pytest.param({"validate_every": 2, "keep": "best"}, 7, id="best"),
        pytest.param({"precision": "bf16"}, 7, id="bf16"),
    ],
)
def test_interrupted_training_ends_with_the_weights_of_uninterrupted_training(
    changes: dict[str, Any],
    step: int,
    blocks: np.ndarray,
    validation: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec(**changes)
    given = {"validation": validation if spec.validate_every else None}
    whole, expected = train(make_model(**DROPOUT), spec, blocks, tmp_path / "whole", **given)
    with monkeypatch.context() as patch:
        _interrupt_at(patch, step)
        with pytest.raises(_InterruptedError):
            train(make_model(**DROPOUT), spec, blocks, tmp_path / "cut", **given)
    # another seed: weights must come from the checkpoint, if there is one
    start = make_model(**DROPOUT) if step == 1 else make_model(seed=5, **DROPOUT)
    torch.manual_seed(99)
    resumed, report = train(start, spec, blocks, tmp_path / "cut", **given)
    assert report["resumed"] == (step > 1)
    assert same(weights(resumed), weights(whole))
    for part in ("validation", "kept_step", "num_tokens"):
        assert report[part] == expected[part]
    assert report["losses"][-1] == expected["losses"][-1]


def test_checkpoint_that_was_cut_off_is_passed_over(
    blocks: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    whole, _ = train(make_model(), spec, blocks, tmp_path / "whole")
    with monkeypatch.context() as patch:
        _interrupt_at(patch, 7)
        with pytest.raises(_InterruptedError):
            train(make_model(), spec, blocks, tmp_path / "cut")
    torn = tmp_path / "cut" / "checkpoint-7"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    resumed, _ = train(make_model(seed=5), spec, blocks, tmp_path / "cut")
    assert same(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    "changes",
    [
        # seven steps end inside the second pass over five batches
        pytest.param({"num_steps": 7}, id="all-steps"),
        pytest.param(
            {"num_steps": 40, "learning_rate": 0.3, "max_loss_ratio": 50, "validate_every": 1,
             "keep": "best", "patience": 2},
            id="stopped-early",
        ),
    ],
)  # fmt: skip
def test_training_that_was_cut_off_behind_its_last_step_is_not_trained_any_further(
    changes: dict[str, Any],
    blocks: np.ndarray,
    validation: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec(**changes)
    given = {"validation": validation if spec.validate_every else None}
    whole, expected = train(make_model(), spec, blocks, tmp_path / "whole", **given)

    def fails(_: Trainer, *__: Any, **___: Any) -> None:
        raise _InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finalize_training", fails)
        with pytest.raises(_InterruptedError):
            train(make_model(), spec, blocks, tmp_path / "cut", **given)
    again, report = train(make_model(seed=5), spec, blocks, tmp_path / "cut", **given)
    assert same(weights(again), weights(whole))
    assert report["num_steps_timed"] == 0
    for part in ("num_steps", "losses", "validation", "kept_step", "validation_loss"):
        assert report[part] == expected[part]
