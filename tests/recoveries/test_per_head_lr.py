"""Heads by importance: full, reduced and no updates, exact under AdamW with decay and momentum."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research import registry
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.recoveries.unit_factors import unit_factors
from sentinel_research.training import Adjustments, train
from tests.recoveries.conftest import (
    assert_held,
    inputs_of,
    recovered,
    spec_of,
    subject,
)

BETA_1, BETA_2, EPSILON, DECAY, RATE = 0.9, 0.999, 1e-8, 0.2, 0.01


def _factors(report: dict[str, Any], kind: str = "head") -> list[list[float]]:
    return [layer["factors"] for layer in report["per_head_lr"][kind]["layers"]]


def _adamw(start: Tensor, gradients: list[Tensor], rate: Tensor) -> Tensor:
    """Loshchilov and Hutter 2019, algorithm 2, in double precision."""
    weight, first, second = start.double(), 0.0, 0.0
    for step, gradient in enumerate((one.double() for one in gradients), 1):
        first = BETA_1 * first + (1 - BETA_1) * gradient
        second = BETA_2 * second + (1 - BETA_2) * gradient**2
        unbiased = first / (1 - BETA_1**step), second / (1 - BETA_2**step)
        weight = weight - rate * DECAY * weight
        weight = weight - rate * unbiased[0] / (unbiased[1].sqrt() + EPSILON)
    return weight


@pytest.mark.parametrize(
    ("family", "part"), [("gpt2", "c_attn.weight"), ("llama", "o_proj.weight")]
)
def test_every_head_follows_adamw_at_a_rate_of_its_own(
    family: str, part: str, text: TrainingSet, tmp_path: Path
) -> None:
    """Five steps with gradients that are given, so that only the rate tells heads apart."""
    one = subject(family, form="mask")
    # as `recover` does: a training writes checkpoints
    del one.pruned.save_pretrained
    inputs = inputs_of(one, text)
    plugin = registry.get("recoveries", "per_head_lr")
    adjustment = plugin(inputs, plugin.options(inactive_factor=0.25, inactive_below=0.4))
    name, factor = next(
        (name, factor)
        for name, factor in adjustment.factors.items()
        if name.endswith(part) and set(factor.unique().tolist()) == {0.0, 0.25, 1.0}
    )
    parameter = one.pruned.get_parameter(name)
    start = parameter.detach().clone()
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(start.shape, generator=generator) for _ in range(5)]
    queue = iter(gradients)
    parameter.register_hook(lambda _: next(queue).clone())
    spec = spec_of(
        learning_rate=RATE,
        weight_decay=DECAY,
        num_steps=5,
        schedule="constant",
        warmup_fraction=0,
        max_grad_norm=0,
    ).train
    train(one.pruned, spec, text.blocks, tmp_path, adjustments=Adjustments(adjustment.factors))
    expected = _adamw(start, gradients, RATE * factor)
    # five roundings to float32 of weights and of their updates
    torch.testing.assert_close(parameter.double(), expected, rtol=1e-6, atol=2e-7)
    still = factor.expand_as(start) == 0
    assert torch.equal(parameter[still], start[still])


def _update(before: PreTrainedModel, after: PreTrainedModel, name: str) -> Tensor:
    return (after.get_parameter(name) - before.get_parameter(name)).detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_first_update_of_an_inactive_head_is_its_share_of_a_full_one(
    family: str, text: TrainingSet
) -> None:
    one = subject(family, granularity=["head", "neuron"], form="mask")
    step = {"num_steps": 1, "warmup_fraction": 0}
    full = recovered(one, spec_of(**step), text).model
    found = recovered(one, spec_of({"per_head_lr": {"inactive_factor": 0.5}}, **step), text)
    own = {
        kind: [torch.tensor(layer) for layer in _factors(found.report, kind)]
        for kind in ("head", "neuron")
    }
    assert {value for layers in own.values() for layer in layers for value in layer.tolist()} == {
        0.0, 0.5, 1.0
    }  # fmt: skip
    for name, factor in unit_factors(one.pruned, own).items():
        wanted = _update(one.pruned, full, name) * factor
        # the update is the difference of two float32 weights of about 1
        torch.testing.assert_close(
            _update(one.pruned, found.model, name), wanted, rtol=1e-4, atol=3e-7
        )
    assert_held(one, found.model)


def test_inactive_are_those_below_the_quantile_of_what_is_left(text: TrainingSet) -> None:
    one = subject(scorer="random", seed=1)
    report = recovered(one, spec_of({"per_head_lr": {}}, num_steps=1), text).report
    own = report["per_head_lr"]["head"]
    assert one.plan.scores is not None
    left = [
        one.plan.scores["head"][index][head]
        for index, layer in enumerate(one.plan.kept)
        for head in layer.heads
    ]
    assert own["scorer"] == "random"
    assert own["threshold"] == pytest.approx(np.quantile(left, 0.25))
    factors = [value for layer in _factors(report) for value in layer]
    # factors are float32
    assert factors == pytest.approx([0.1 if one < own["threshold"] else 1.0 for one in left])
    assert [layer["units"] for layer in own["layers"]] == [
        list(layer.heads) for layer in one.plan.kept
    ]
    assert "neuron" not in report["per_head_lr"]
    json.dumps(report, allow_nan=False)


def test_nothing_is_inactive_below_quantile_zero(text: TrainingSet) -> None:
    spec = spec_of({"per_head_lr": {"inactive_below": 0.0}}, num_steps=1)
    factors = _factors(recovered(subject(), spec, text).report)
    assert {value for layer in factors for value in layer} == {1.0}


def test_model_without_heads_is_trained_without_factors(text: TrainingSet) -> None:
    one = subject(fraction=1.0, min_per_layer=0)
    report = recovered(one, spec_of({"per_head_lr": {}}, num_steps=1), text).report
    assert _factors(report) == [[], [], []]


@pytest.mark.parametrize("wrong", [{"inactive_factor": 1.5}, {"inactive_below": -0.1}])
def test_share_outside_its_range_is_refused(wrong: dict[str, float], text: TrainingSet) -> None:
    with pytest.raises(UsageError, match=rf"recover.methods.per_head_lr: `{next(iter(wrong))}`"):
        recovered(subject(), spec_of({"per_head_lr": wrong}), text)
