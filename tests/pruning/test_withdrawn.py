"""Withdrawn heads become a plan, and removing them changes no logit."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.agency import HeadState, gated_layers, head_states, withdraw_consent
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import load, plan_from_states, plan_units, prune, remove
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.pruning.withdrawn import withdraw
from sentinel_research.specs import GateMode, ModelSpec, PruneSpec, StatePolicy
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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_withdrawn_consent_computes_what_the_mask_computes(family: str, mode: GateMode) -> None:
    model = disturb(gated(family, mode))
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5)
    masked, report = prune(model, spec)
    withdrawn, own = prune(model, spec.model_copy(update={"form": "withdraw"}))
    inputs = probe_inputs(model)
    visible = inputs["attention_mask"].bool()
    expected = masked(**inputs).logits[visible]
    torch.testing.assert_close(withdrawn(**inputs).logits[visible], expected, atol=1e-5, rtol=1e-5)
    assert own.plan == report.plan
    assert own.num_parameters_after == own.num_parameters_before
    # the model that was given has all of its heads
    assert {*head_states(model).values()} == {HeadState.ACTIVE}


def test_policy_moves_the_other_heads_on_the_text_and_none_of_the_withdrawn_ones() -> None:
    policy = StatePolicy(overload_above=0.0, relieve_below=0.0, misalign_below=-1.0)
    model = gated("gpt2", policy=policy)
    text = CalibrationSet.of(torch.arange(40).reshape(4, 10))
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, form="withdraw")
    found, report = prune(model, spec, calibration=text)
    gone = set(report.removed["head"])
    for (layer, head), state in head_states(found).items():
        expected = HeadState.WITHDRAWN if f"L{layer}H{head}" in gone else HeadState.OVERLOADED
        assert state is expected, (layer, head)
    assert not any(place.gate.training for place in gated_layers(found, found.config))


def test_withdrawal_survives_saving(tmp_path: Path) -> None:
    model = gated("llama")
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, form="withdraw")
    found, _ = prune(model, spec)
    found.save_pretrained(tmp_path)
    loaded, _, _ = load(ModelSpec(pretrained=str(tmp_path), tokenizer="bytes"))
    assert head_states(loaded) == head_states(found)


def test_plan_with_neurons_cannot_be_withdrawn() -> None:
    model = gated("gpt2")
    plan = plan_units(model, PruneSpec(scorer="magnitude_l2", fraction=0.5, granularity="neuron"))
    with pytest.raises(UsageError, match="removes neuron too"):
        withdraw(model, plan.plan)


def test_model_without_gates_cannot_withdraw() -> None:
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, form="withdraw")
    with pytest.raises(UsageError, match="has no head gates"):
        prune(tiny_model("gpt2"), spec)


def test_withdrawal_of_blocks_is_refused_with_the_recipe() -> None:
    with pytest.raises(ValidationError, match="must be head or kv_group, not layer"):
        PruneSpec(scorer="magnitude_l2", fraction=0.5, form="withdraw", granularity="layer")
