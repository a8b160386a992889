"""How calm a training was: what counts as a spike, and what the report says of a real one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies
from transformers import TrainerState

from sentinel_research.errors import DivergedError
from sentinel_research.training import train
from sentinel_research.training.stability import SPIKE_RATIO, spikes, stability
from tests.training.conftest import make_model, make_spec

LOSSES = strategies.lists(strategies.floats(0.01, 50.0), max_size=30)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        pytest.param([5.0, 4.0, 3.5, 9.0, 3.4, 3.3], [3], id="one"),
        pytest.param([5.0, 4.0, 3.5, 3.4, 9.0, 9.1, 3.3], [4, 5], id="two-in-a-row"),
        pytest.param([5.0, 4.0, 3.0, 2.0, 1.0], [], id="falling"),
        pytest.param([2.0, 4.0], [], id="twice-is-not-above-twice"),
        # the first five are forgotten: against 1.0 this is a spike, against 9.0 it is not
        pytest.param([9.0] * 5 + [1.0] * 5 + [3.0], [10], id="window"),
        pytest.param([7.0], [], id="nothing-before"),
    ],
)
def test_spike_is_a_loss_above_twice_the_median_of_five(
    losses: list[float], expected: list[int]
) -> None:
    assert spikes(losses) == expected


@given(LOSSES)
def test_losses_that_never_double_have_no_spike_and_units_do_not_matter(
    losses: list[float],
) -> None:
    if losses and max(losses) <= SPIKE_RATIO * min(losses):
        assert spikes(losses) == []
    # a power of two scales floats exactly
    assert spikes([4 * loss for loss in losses]) == spikes(losses)


def test_what_is_not_finite_is_counted_and_in_no_quantile() -> None:
    state = TrainerState()
    state.log_history = [
        {"step": 1, "loss": 4.0, "grad_norm": 1.0},
        {"step": 1, "eval_loss": 4.0},
        {"step": 2, "loss": 9.0, "grad_norm": math.inf},
        {"step": 3, "loss": math.nan, "grad_norm": 3.0},
    ]
    assert stability(state) == {
        "num_logged": 3,
        "num_loss_spikes": 1,
        "spike_steps": [2],
        "num_not_finite_losses": 1,
        "num_not_finite_grad_norms": 1,
        "grad_norm": {"median": 2.0, "q90": pytest.approx(2.8), "max": 3.0},
    }


def test_report_has_the_norms_of_the_log_and_no_spike(blocks: np.ndarray, tmp_path: Path) -> None:
    _, report = train(make_model(), make_spec(), blocks, tmp_path)
    norms = [entry["grad_norm"] for entry in report["losses"]]
    found = report["stability"]
    assert found["num_logged"] == len(norms) == 10
    assert found["grad_norm"]["max"] == max(norms)
    assert found["grad_norm"]["median"] == pytest.approx(float(np.median(norms)))
    assert (found["num_loss_spikes"], found["num_not_finite_losses"]) == (0, 0)


def test_loss_that_stops_being_finite_is_counted(blocks: np.ndarray, tmp_path: Path) -> None:
    model = make_model()
    calls = iter(range(100))

    def poison(_module: Any, _args: Any, output: Any) -> None:
        if next(calls) >= 5:
            output.loss = output.loss * float("nan")

    model.register_forward_hook(poison)
    with pytest.raises(DivergedError) as caught:
        train(model, make_spec(), blocks, tmp_path)
    assert caught.value.report["stability"]["num_not_finite_losses"] == 1


def test_every_pass_over_the_blocks_ends_with_an_entry_of_the_log(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    # 5 steps a pass, an entry every 3
    _, report = train(make_model(), make_spec(num_steps=120), blocks, tmp_path)
    steps = [entry["step"] for entry in report["losses"]]
    assert set(range(3, 121, 3)) | set(range(5, 121, 5)) | {1} == set(steps)
