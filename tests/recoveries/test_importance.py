"""Whose scores tell heads apart, and which heads are critical."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import score_units
from sentinel_research.recoveries import RecoveryInputs
from sentinel_research.recoveries.importance import Importance, critical, importance_of
from sentinel_research.specs import PruneSpec
from tests.recoveries.conftest import Subject, inputs_of, subject


@pytest.mark.parametrize("form", ["remove", "mask"])
def test_scores_are_the_plans_own_by_original_index(form: str, text: TrainingSet) -> None:
    one = subject(form=form, scorer="random", seed=4)
    found = importance_of(inputs_of(one, text), "head")
    assert found.scorer == "random"
    assert one.plan.scores is not None
    for index, layer in enumerate(one.plan.kept):
        expected = [one.plan.scores["head"][index][head] for head in layer.heads]
        assert found.values[index][found.is_left[index]].tolist() == expected
        assert int(found.is_left[index].sum()) == len(layer.heads)


def test_heads_of_a_scored_group_have_the_score_of_the_group(text: TrainingSet) -> None:
    one = subject("llama", granularity="kv_group")
    found = importance_of(inputs_of(one, text), "head")
    assert one.plan.scores is not None
    for layer, values in enumerate(found.values):
        groups = [head // 2 for head in one.plan.kept[layer].heads]
        expected = [one.plan.scores["kv_group"][layer][group] for group in groups]
        assert values.tolist() == expected


@pytest.mark.parametrize(
    "changes",
    [{"granularity": "layer", "scope": "global"}, {"granularity": "weight"}, {}],
    ids=["layers", "weights", "no-plan"],
)
def test_without_scores_of_heads_weight_norms_are_taken(
    changes: dict[str, Any], text: TrainingSet
) -> None:
    one = subject(**changes)
    inputs = inputs_of(one, text)
    if not changes:
        inputs = replace(inputs, plan=None)
    found = importance_of(inputs, "head")
    spec = PruneSpec(scorer="magnitude_l2", fraction=0)
    assert found.scorer == "magnitude_l2"
    assert [values.tolist() for values in found.values] == score_units(one.pruned, spec).values[
        "head"
    ]


def test_critical_heads_are_the_most_important_of_all_layers_rounded_up() -> None:
    values = [torch.tensor([3.0, 9.0, 1.0]), torch.tensor([]), torch.tensor([3.0, 2.0])]
    left = [torch.tensor([True, False, True]), torch.tensor([], dtype=torch.bool),
            torch.tensor([True, True])]  # fmt: skip
    found = Importance("any", [one.double() for one in values], left)
    # four heads are left, and the first of the two equal ones goes first
    chosen = {share: critical(found, share) for share in (0.25, 0.3, 1.0)}
    assert [layer.tolist() for layer in chosen[0.25]] == [[1, 0, 0], [], [0, 0]]
    assert [layer.tolist() for layer in chosen[0.3]] == [[1, 0, 0], [], [1, 0]]
    assert [layer.tolist() for layer in chosen[1.0]] == [[1, 0, 1], [], [1, 1]]


def test_model_without_a_plan_has_all_its_heads(text: TrainingSet) -> None:
    model = tiny_model("opt", seed=1)
    whole = Subject(model, model, PruneSpec(scorer="random", fraction=0.1), None)  # type: ignore[arg-type]
    inputs: RecoveryInputs = inputs_of(whole, text)
    assert all(bool(layer.all()) for layer in importance_of(inputs, "neuron").is_left)
