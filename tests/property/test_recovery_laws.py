"""Laws of recovery: whatever a plan took out, no method changes a bit of it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, strategies

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.pruning import mask, remove
from sentinel_research.recoveries import recover
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.specs import RecoverSpec, TrainSpec
from tests.property.conftest import cases, every_family, share

LENGTH = 9
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "per_head_lr": {"inactive_below": 0.5},
    "component_lr": {"layer_decay": 0.5},
    "progressive": {"phases": [{"name": "one", "share": 0.5, "trains": "heads"},
                               {"name": "two", "share": 0.5}]},
    "lora": {"r": 2},
    "distill": {"alpha": 0.9},
    "gates": {"add": "static"},
}  # fmt: skip


@every_family
@pytest.mark.slow
@share(0.5)
@given(data=strategies.data())
def test_no_method_changes_what_a_plan_took_out(family: str, data: strategies.DataObject) -> None:
    model, plan, _ = data.draw(cases(family, weights=True))
    name = data.draw(strategies.sampled_from(list(METHODS)))
    # a mask of weights is numbered as in the model before, so that it stays in place
    as_mask = bool(plan.weights) or data.draw(strategies.booleans())
    # gates have no place beside hooks, and nothing trains where its part is gone
    assume(name != "gates" or not as_mask or plan.kept == plan.before.layers)
    assume(name not in ("gates", "progressive") or any(layer.heads for layer in plan.kept))
    assume(name != "lora" or any(layer.heads or layer.neurons for layer in plan.kept))
    pruned = mask(model, plan) if as_mask else remove(model, plan)
    seed = data.draw(strategies.integers(0, 99))
    blocks = np.random.default_rng(seed).integers(0, 200, (8, LENGTH))
    train = TrainSpec(
        corpus="none", num_steps=2, batch_size=4, sequence_length=LENGTH, learning_rate=0.01,
        weight_decay=0.2, max_loss_ratio=100, seed=seed,
    )  # fmt: skip
    before = {name: value.clone() for name, value in pruned.named_parameters()}
    after = recover(
        pruned,
        RecoverSpec(methods={name: METHODS[name]}, train=train),
        byte_tokenizer(),
        plan=plan,
        teacher=model,
        data=TrainingSet(blocks, None, {}),
    ).model
    for path, factor in held(pruned, plan).items():
        still = factor.expand_as(before[path]) == 0
        assert torch.equal(after.get_parameter(path)[still], before[path][still]), path
    assert all(torch.equal(value, before[path]) for path, value in pruned.named_parameters())
