"""Withdrawn heads become a plan, and removing them changes no logit."""

import pytest
import torch

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.agency import gated_layers, head_states, withdraw_consent
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import plan_from_states, prune, remove
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import GateMode, PruneSpec, StatePolicy
from tests.models.agency import MODES, disturb, gated

WITHDRAWN = [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 4)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_removing_withdrawn_heads_gives_the_logits_of_multiplier_zero(
    family: str, mode: GateMode
) -> None:
    model = disturb(gated(family, mode, policy=StatePolicy()))
    num_heads = structure_of(model.config).num_heads
    gone = [*WITHDRAWN, *[(1, head) for head in range(5, num_heads)]]
    withdraw_consent(model, gone)
    inputs = probe_inputs(model)
    logits = model(**inputs).logits
    removed = remove(model, plan_from_states(model))
    # the projection sums fewer terms, grown over three layers
    bound = 1e-4 * logits.abs().max().item()
    visible = inputs["attention_mask"].bool()
    difference = (removed(**inputs).logits - logits)[visible].abs().max().item()
    assert difference < bound
    # every head that stays has kept its own gate, and layer 1 has neither heads nor a gate
    before = {place.layer: place for place in gated_layers(model, model.config)}
    after = gated_layers(removed, removed.config)
    assert [place.layer for place in after] == [0, 2]
    for place in after:
        own = [before[place.layer].heads.index(head) for head in place.heads]
        for name, value in place.gate.state_dict().items():
            assert torch.equal(value, before[place.layer].gate.state_dict()[name][own]), name
    assert head_states(removed).keys() == head_states(model).keys() - set(gone)


def test_plan_names_the_withdrawn_heads_and_where_it_came_from() -> None:
    model = gated("gpt2")
    withdraw_consent(model, [(0, 1), (2, 4)])
    plan = plan_from_states(model)
    assert plan.removed == {"head": ["L0H1", "L2H4"]}
    assert plan.scorer == "agency"
    assert plan.granularity == ("head",)


def test_model_without_withdrawn_heads_has_a_plan_that_removes_nothing() -> None:
    assert plan_from_states(gated("gpt2")).is_identity


def test_model_without_gates_has_no_such_plan() -> None:
    with pytest.raises(UsageError, match="has no head gates"):
        plan_from_states(tiny_model("gpt2"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["remove", "mask"])
def test_gated_model_is_pruned_like_any_other(mode: GateMode, form: str) -> None:
    model = disturb(gated("gpt2", mode))
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.4, form=form)
    pruned, report = prune(model, spec)
    gate = 31 if mode == "input" else 1
    # 2 heads of 5 in 3 layers: 4 * 30 * 6 weights, 3 * 6 biases and the gate
    expected = 6 * (720 + 18 + gate) if form == "remove" else 0
    assert report.num_parameters_before - report.num_parameters_after == expected
    assert type(pruned) is type(model)
