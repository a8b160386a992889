"""A pruned model's weights back in the dense layout: the same logits, zeros for what went."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import baked_plan, expand, make_plan, prune, remove
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import PruneSpec

# rounding of sums with zeros in them, of logits of a few units
TOLERANCE = 1e-5


@torch.no_grad()
def _trained(model: PreTrainedModel) -> PreTrainedModel:
    """The model with every weight moved, as training would."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def _difference(one: PreTrainedModel, other: PreTrainedModel) -> float:
    inputs = probe_inputs(one)
    visible = inputs["attention_mask"].bool()
    logits = [model(**inputs).logits[visible].double() for model in (one, other)]
    return float((logits[0] - logits[1]).abs().max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "changes",
    [
        {"granularity": "head"},
        {"granularity": "neuron"},
        {"granularity": "layer", "scorer": "random"},
    ],
    ids=["heads", "neurons", "layers"],
)
def test_trained_weights_give_the_same_logits_in_the_dense_layout(
    family: str, changes: dict[str, Any]
) -> None:
    dense = tiny_model(family)
    spec = PruneSpec(**{"scorer": "magnitude_l2", "fraction": 0.4, **changes})
    pruned, report = prune(dense, spec)
    _trained(pruned)
    expanded = expand(pruned, dense, report.plan)
    assert type(expanded) is type(dense)
    assert structure_of(expanded.config).layers == structure_of(dense.config).layers
    assert _difference(expanded, pruned) < TOLERANCE
    # and removal by the same plan gives the pruned weights back, bit for bit
    again = remove(expanded, report.plan).state_dict()
    assert all(torch.equal(again[key], value) for key, value in pruned.state_dict().items())


def test_what_went_is_recognised_as_zeros() -> None:
    dense = tiny_model("gpt2")
    plan = make_plan(structure_of(dense.config), [[0, 2], [1, 3, 4], [0, 1, 2, 3]])
    expanded = expand(_trained(remove(dense, plan)), dense, plan)
    assert baked_plan(expanded).kept == plan.kept


def test_neither_model_is_changed() -> None:
    dense = tiny_model("llama")
    pruned, report = prune(dense, PruneSpec(scorer="magnitude_l2", fraction=0.5))
    before = [
        {key: value.clone() for key, value in one.state_dict().items()} for one in (dense, pruned)
    ]
    expanded = expand(pruned, dense, report.plan)
    with torch.no_grad():
        for parameter in expanded.parameters():
            parameter.zero_()
    for model, weights in zip((dense, pruned), before, strict=True):
        assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_model_of_another_plan_is_refused() -> None:
    dense = tiny_model("gpt2")
    structure = structure_of(dense.config)
    pruned = remove(dense, make_plan(structure, [[0, 2], [1, 3, 4], [0]]))
    with pytest.raises(UsageError, match="other parts than the plan leaves"):
        expand(pruned, dense, make_plan(structure, [[0, 1], [1, 3, 4], [0]]))


def test_biases_without_a_place_are_refused() -> None:
    dense = tiny_model("llama")
    plan = make_plan(structure_of(dense.config), [[0, 1], [2, 3], [4, 5]])
    with pytest.raises(UsageError, match=r"no place for .*bias"):
        expand(remove(dense, plan, output_biases=True), dense, plan)
