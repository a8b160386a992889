"""Laws of training a pruned model: what is gone stays gone."""

import copy

import torch
from hypothesis import given, strategies
from transformers import PreTrainedModel

from sentinel_research.models import structure_of
from sentinel_research.models.tiny import NUM_BYTES
from sentinel_research.pruning import bake, baked_plan, remove
from tests.property.conftest import cases, every_family, share

NUM_STEPS = 3


def _train(model: PreTrainedModel, seed: int) -> None:
    ids = torch.randint(NUM_BYTES, (2, 9), generator=torch.Generator().manual_seed(seed))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(NUM_STEPS):
        loss = model(ids, labels=ids).loss
        assert bool(loss.isfinite())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@every_family
@share(0.4)
@given(data=strategies.data())
def test_baked_groups_and_neurons_stay_dead_under_training(
    family: str, data: strategies.DataObject
) -> None:
    model, plan, _ = data.draw(cases(family, blocks=False, whole_groups=True))
    trained = bake(model, plan)
    assert baked_plan(trained).kept == plan.kept
    _train(trained, data.draw(strategies.integers(0, 99)))
    assert baked_plan(trained).kept == plan.kept
    # not only the columns that are looked at: baking once more finds nothing left to zero
    again = bake(trained, plan).state_dict()
    assert all(torch.equal(again[name], value) for name, value in trained.state_dict().items())
    before, after = dict(model.named_parameters()), dict(trained.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)


@every_family
@share(0.4)
@given(data=strategies.data())
def test_training_a_removed_model_keeps_its_structure_and_leaves_the_dense_one_alone(
    family: str, data: strategies.DataObject
) -> None:
    model, plan, _ = data.draw(cases(family))
    before = copy.deepcopy(model.state_dict())
    pruned = remove(model, plan)
    _train(pruned, data.draw(strategies.integers(0, 99)))
    assert structure_of(pruned.config) == plan.after
    assert model.num_parameters() - pruned.num_parameters() == plan.parameters_removed
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
