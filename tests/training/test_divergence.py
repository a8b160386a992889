"""Training that goes wrong stops, says why, and keeps what it has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentinel_research.errors import DivergedError
from sentinel_research.training import train
from tests.training.conftest import make_model, make_spec


def test_loss_that_is_not_finite_stops_training_and_keeps_the_history(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    model = make_model()
    steps = iter(range(100))

    def poison(_module: Any, _args: Any, output: Any) -> Any:
        # the first call counts operations on a copy
        if next(steps) >= 5:
            output.loss = output.loss * float("nan")
        return output

    model.register_forward_hook(poison)
    with pytest.raises(
        DivergedError, match="the training loss is nan after step 5 of 10"
    ) as caught:
        train(model, make_spec(), blocks, tmp_path)
    report = caught.value.report
    assert [entry["step"] for entry in report["losses"]] == [1, 2, 3, 4]
    good = tmp_path / "checkpoint-4"
    assert report["diverged"] == {
        "step": 5,
        "reason": "the training loss is nan",
        "last_checkpoint": str(good),
    }
    assert f"the last good checkpoint, of step 4, is {good}" in caught.value.message
    assert (good / "model.safetensors").exists()
    assert report["num_steps"] == 5


def test_loss_far_above_its_start_stops_training(blocks: np.ndarray, tmp_path: Path) -> None:
    spec = make_spec(learning_rate=30.0, warmup_fraction=0.0, num_steps=30, max_grad_norm=0.0)
    with pytest.raises(DivergedError, match=r"more than 2 times the 5\.\d+ of the first step"):
        train(make_model(), spec, blocks, tmp_path)


def test_gradient_that_is_not_finite_stops_training(blocks: np.ndarray, tmp_path: Path) -> None:
    model = make_model()
    model.transformer.wpe.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(
        DivergedError,
        match=r"norm of the gradient is (nan|inf) after step 1 .* no checkpoint was written before",
    ):
        train(model, make_spec(), blocks, tmp_path)


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    """Step 26 is saved, and would else be logged with step 27 only."""
    model = make_model()
    steps = iter(range(1000))

    def poison(_module: Any, _args: Any, output: Any) -> Any:
        # the first call counts operations on a copy
        if next(steps) >= 26:
            output.loss = output.loss * float("nan")
        return output

    model.register_forward_hook(poison)
    with pytest.raises(DivergedError, match="after step 26 of 130") as caught:
        train(model, make_spec(num_steps=130), blocks, tmp_path)
    assert "no checkpoint was written before" in caught.value.message
    assert not list(tmp_path.glob("checkpoint-*"))
