"""Factors of updates: exact at 0 and 1, a learning rate of its own in between."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentinel_research.training import Adjustments, UpdateScaling, train
from tests.training.conftest import DROPOUT, make_model, make_spec, same, weights

# momentum, decoupled decay and clipping: all that moves a weight without a gradient of its own
HARD = {"weight_decay": 0.3, "max_grad_norm": 0.1, "num_steps": 6}
NAME = "transformer.h.0.attn.c_attn.weight"


def _trained(blocks: np.ndarray, folder: Path, factors: Any = None, **changes: Any) -> Any:
    model = make_model(**DROPOUT)
    spec = make_spec(**{**HARD, **changes})
    adjustments = None if factors is None else Adjustments(factors=factors)
    return train(model, spec, blocks, folder, adjustments=adjustments)


def test_entries_with_factor_zero_keep_every_bit(blocks: np.ndarray, tmp_path: Path) -> None:
    before = weights(make_model())
    factor = torch.ones(16, 48)
    factor[:, 5:9] = 0
    model, _ = _trained(blocks, tmp_path, {NAME: factor})
    after = weights(model)[NAME]
    assert torch.equal(after[:, 5:9], before[NAME][:, 5:9])
    moved = (after != before[NAME]).float().mean(dim=0)
    assert bool((torch.cat([moved[:5], moved[9:]]) > 0.9).all())


def test_factor_one_changes_no_bit(blocks: np.ndarray, tmp_path: Path) -> None:
    plain, _ = _trained(blocks, tmp_path / "plain")
    scaled, _ = _trained(blocks, tmp_path / "scaled", {NAME: 1.0})
    assert same(weights(plain), weights(scaled))


def test_constant_factor_is_a_learning_rate_of_its_own(blocks: np.ndarray, tmp_path: Path) -> None:
    model = make_model(**DROPOUT)
    factors = {name: 0.5 for name, _ in model.named_parameters()}
    halved, _ = _trained(blocks, tmp_path / "halved", factors)
    slower, _ = _trained(blocks, tmp_path / "slower", learning_rate=0.005)
    for name, value in weights(halved).items():
        # rounding of old + (new - old) / 2, six times
        torch.testing.assert_close(value, weights(slower)[name], rtol=1e-5, atol=1e-6)


def test_frozen_parameter_costs_no_gradient_and_thaws_afterwards(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    before = weights(make_model())
    model, report = _trained(blocks, tmp_path, {NAME: 0.0})
    assert torch.equal(weights(model)[NAME], before[NAME])
    assert model.get_parameter(NAME).grad is None
    assert model.get_parameter(NAME).requires_grad
    assert report["num_trained_parameters"] == report["num_parameters"] - 16 * 48


def test_held_entries_stay_out_of_the_norm_that_is_clipped(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    """Holding half of a matrix lowers the reported norm; scaling its updates does not."""
    half = torch.ones(16, 48)
    half[:, ::2] = 0
    norms = {
        name: _trained(blocks, tmp_path / name, {NAME: factor}, num_steps=1)[1]["losses"][0]
        for name, factor in {"held": half, "slow": half + 0.5, "plain": torch.ones(1)}.items()
    }
    assert norms["held"]["grad_norm"] < norms["plain"]["grad_norm"]
    assert norms["slow"]["grad_norm"] == norms["plain"]["grad_norm"]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"nothing.weight": 0.5}, "does not have"),
        ({NAME: torch.ones(7)}, r"shape \[7\]"),
        ({NAME: -1.0}, "not negative"),
        ({NAME: float("nan")}, "finite"),
    ],
)
def test_factor_that_fits_no_parameter_is_refused(factors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UpdateScaling(make_model(), factors)


def test_loss_terms_act_in_training_and_not_in_validation(
    blocks: np.ndarray, validation: np.ndarray, tmp_path: Path
) -> None:
    def doubled(model: Any, inputs: Any, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        assert outputs.hidden_states is not None
        return 2 * loss

    def run(folder: Path, adjustments: Adjustments) -> dict[str, Any]:
        spec = make_spec(num_steps=1, validate_every=1)
        _, report = train(
            make_model(), spec, blocks, folder, validation=validation, adjustments=adjustments
        )
        return report

    plain = run(tmp_path / "plain", Adjustments())
    term = Adjustments(loss_terms=(doubled,), forward_arguments={"output_hidden_states": True})
    twice = run(tmp_path / "twice", term)
    assert twice["losses"][0]["loss"] == pytest.approx(2 * plain["losses"][0]["loss"], rel=1e-5)
    # one AdamW step hardly depends on the gradient's size: what is validated is the plain loss
    assert twice["validation"][0]["loss"] == pytest.approx(plain["validation"][0]["loss"], rel=1e-3)


def test_parameter_that_is_frozen_already_is_not_counted_again() -> None:
    model = make_model()
    everything = UpdateScaling(model, {}).num_moving(model)
    parameter = model.get_parameter(NAME).requires_grad_(False)
    half = torch.ones(16, 48)
    half[:, ::2] = 0
    moving = UpdateScaling(model, {NAME: half}).num_moving(model)
    assert moving == everything - parameter.numel()
