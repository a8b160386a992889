"""The stage as a whole: request in, pruned model and report out."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import (
    PruneReport,
    PruningPlan,
    apply,
    make_plan,
    mask,
    plan_units,
    prune,
    remove,
)
from sentinel_research.pruning.report import count_nonzero, forward_flops_per_token
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.specs import CalibrationSpec, PruneSpec

every_family = pytest.mark.parametrize("family", FAMILIES)
KINDS = ["head", "kv_group", "neuron", "attention", "ffn", "layer", ("head", "neuron")]
every_granularity = pytest.mark.parametrize("granularity", KINDS, ids=str)


@pytest.fixture
def calibration() -> CalibrationSet:
    generator = torch.Generator().manual_seed(1)
    return CalibrationSet.of(torch.randint(256, (4, 8), generator=generator))


@every_granularity
@every_family
def test_report_says_what_happened(family: str, granularity: object) -> None:
    model = tiny_model(family)
    # a share of every layer and kind, of three blocks one
    pruned, report = prune(
        model, PruneSpec(scorer="magnitude_l2", fraction=0.5, granularity=granularity)
    )
    structure, plan = structure_of(model.config), report.plan
    assert structure_of(pruned.config) == plan.after
    kinds = (granularity,) if isinstance(granularity, str) else granularity
    heads, groups = structure.num_heads, structure.num_kv_heads
    each = {
        "head": heads // 2,
        "kv_group": groups // 2,
        "neuron": structure.intermediate_size // 2,
    }
    assert report.budget_requested == report.budget_achieved == sum(
        3 * each[kind] if kind in each else 1 for kind in kinds
    )  # fmt: skip
    assert report.removed == plan.removed
    assert report.num_removed == plan.num_removed
    assert report.num_before == {
        "head": 3 * heads,
        "neuron": 3 * structure.intermediate_size,
        "attention": 3,
        "ffn": 3,
    }
    assert report.num_parameters_before == model.num_parameters()
    assert report.num_parameters_after == pruned.num_parameters() < report.num_parameters_before
    assert report.num_nonzero_parameters_after == report.num_parameters_after
    length = report.flops_sequence_length
    saved = report.flops_per_token_before - report.flops_per_token_after
    assert saved == plan.flops_removed(length) > 0
    assert plan.scorer == pruned.config.pruning["scorer"] == "magnitude_l2"
    assert plan.seed is None
    assert plan.granularity == kinds
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert PruneReport.model_validate_json(text) == report


@pytest.mark.parametrize("form", ["mask", "remove"])
@every_family
def test_nothing_asked_is_nothing_done(family: str, form: str) -> None:
    model = tiny_model(family)
    spec = PruneSpec(
        scorer="magnitude_l2",
        fraction=0,
        form=form,
        scope="global",
        budget="parameters",
        granularity=("head", "neuron", "layer"),
    )
    pruned, report = prune(model, spec)
    inputs = probe_inputs(model)
    assert torch.equal(pruned(**inputs).logits, model(**inputs).logits)
    assert report.plan.is_identity
    assert report.removed == report.num_removed == {}
    assert report.flops_per_token_after == report.flops_per_token_before


@pytest.mark.parametrize("granularity", ["head", ("neuron", "attention")], ids=str)
@every_family
def test_mask_costs_what_the_dense_model_costs(family: str, granularity: object) -> None:
    model = tiny_model(family)
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, form="mask", granularity=granularity)
    masked, report = prune(model, spec)
    removed, other = prune(model, spec.model_copy(update={"form": "remove"}))
    assert report.plan == other.plan
    assert report.num_parameters_after == report.num_parameters_before
    assert report.num_nonzero_parameters_after == other.num_nonzero_parameters_after
    assert report.flops_per_token_after == report.flops_per_token_before
    inputs = probe_inputs(model)
    torch.testing.assert_close(masked(**inputs).logits, removed(**inputs).logits)


@every_granularity
@every_family
def test_either_form_counts_the_same_parameters_that_are_not_zero(
    family: str, granularity: object
) -> None:
    model = tiny_model(family)
    with torch.no_grad():
        # as in a fresh model, and with zeros in what goes and in what stays
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter[parameter.abs() < parameter.abs().mean() / 2] = 0.0
    found = {}
    for form in ("remove", "mask"):
        spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, granularity=granularity, form=form)
        pruned, report = prune(model, spec)
        found[form] = report.num_nonzero_parameters_after
        if form == "remove":
            nonzero = sum(int(p.count_nonzero()) for p in pruned.parameters())
            assert report.num_nonzero_parameters_after == nonzero < report.num_parameters_after
    assert found["mask"] == found["remove"]


def test_zeros_among_what_goes_are_not_counted_twice() -> None:
    model = tiny_model("gpt2")
    keep = np.ones((30, 90), dtype=bool)
    # queries of head 0, which goes: 180 weights, and one more that stays
    keep[:, :6] = keep[0, 6] = False
    plan = make_plan(
        structure_of(model.config),
        [[1, 2, 3, 4], range(5), range(5)],
        weights={"transformer.h.0.attn.c_attn.weight": WeightMask.of(keep)},
    )
    assert plan.num_removed["weight"] == 181
    removed, masked = remove(model, plan), mask(model, plan)
    left = sum(int(parameter.count_nonzero()) for parameter in removed.parameters())
    assert left == removed.num_parameters() - 1
    assert count_nonzero(masked, plan) == count_nonzero(removed, plan) == left


def test_flops_equal_the_closed_form() -> None:
    model = tiny_model("gpt2")
    _, report = prune(model, PruneSpec(scorer="magnitude_l2", fraction=0.4))
    length, hidden, inner, vocabulary, width = 64, 30, 37, 259, 6
    for heads, found in ((5, report.flops_per_token_before), (3, report.flops_per_token_after)):
        attention = 4 * hidden * heads * width + 2 * length * heads * width
        layer = attention + 2 * hidden * inner
        assert found == 2 * (3 * layer + hidden * vocabulary)


def test_minimum_per_layer_leaves_a_shortfall_that_is_reported() -> None:
    spec = PruneSpec(scorer="magnitude_l2", fraction=1.0, min_per_layer=2)
    pruned, report = prune(tiny_model("gpt2"), spec)
    assert report.budget_requested == 15
    assert report.budget_achieved == 9
    assert structure_of(pruned.config).num_units("head") == (2, 2, 2)


@every_family
def test_all_heads_or_all_neurons_can_go_but_not_everything(family: str) -> None:
    model = tiny_model(family)
    spec = PruneSpec(scorer="magnitude_l2", fraction=1.0, min_per_layer=0)
    pruned, _ = prune(model, spec)
    assert structure_of(pruned.config).num_units("head") == (0, 0, 0)
    assert structure_of(pruned.config).num_units("attention") == (1, 1, 1)
    pruned, _ = prune(model, spec.model_copy(update={"granularity": "neuron"}))
    assert structure_of(pruned.config).num_units("neuron") == (0, 0, 0)
    pruned, _ = prune(model, spec.model_copy(update={"granularity": "ffn"}))
    assert structure_of(pruned.config).num_units("ffn") == (0, 0, 0)
    for everything in (("head", "neuron"), "layer", ("attention", "ffn")):
        with pytest.raises(UsageError, match="plan removes everything"):
            prune(model, spec.model_copy(update={"granularity": everything}))


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_whole_groups_go_in_the_order_of_their_own_scores(family: str, scope: str) -> None:
    model = tiny_model(family)
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, scope=scope, granularity="kv_group")
    plan = plan_units(model, spec).plan
    assert plan.num_removed == {"head": 12, "kv_head": 6}
    if scope == "local":
        for kept, scores in zip(plan.kept, plan.scores["kv_group"], strict=True):
            best = sorted(range(4), key=lambda group: scores[group])[2:]
            assert kept.heads == tuple(h for g in sorted(best) for h in (2 * g, 2 * g + 1))


@pytest.mark.parametrize(
    "granularity",
    # what goes both by itself and in a block is lost once
    [*KINDS, ("head", "neuron", "layer"), ("kv_group", "attention"), ("neuron", "ffn")],
    ids=str,
)
@pytest.mark.parametrize("budget", ["parameters", "flops"])
@pytest.mark.parametrize("family", ["bloom", "llama"])
def test_budget_is_what_the_model_loses(family: str, budget: str, granularity: object) -> None:
    model = tiny_model(family)
    spec = PruneSpec(
        scorer="magnitude_l2",
        fraction=0.5,
        scope="global",
        budget=budget,
        granularity=granularity,
    )
    _, report = prune(model, spec)
    lost = {
        "parameters": report.num_parameters_before - report.num_parameters_after,
        "flops": report.flops_per_token_before - report.flops_per_token_after,
    }
    assert report.budget_achieved == lost[budget] <= report.budget_requested


@pytest.mark.parametrize("granularity", ["attention", ("head", "neuron")], ids=str)
@every_family
def test_pruned_model_can_be_pruned_again(
    family: str, granularity: object, calibration: CalibrationSet
) -> None:
    spec = PruneSpec(scorer="gate_gradient", fraction=0.4, granularity=granularity)
    once, first = prune(tiny_model(family), spec, calibration=calibration)
    twice, second = prune(once, spec, calibration=calibration)
    assert second.plan.before == first.plan.after
    for kind, labels in second.removed.items():
        assert not set(first.removed[kind]) & set(labels)
    assert second.num_parameters_before == first.num_parameters_after
    assert structure_of(twice.config) == second.plan.after


def test_plan_names_the_calibration_tokens(calibration: CalibrationSet) -> None:
    model = tiny_model("gpt2")
    request = CalibrationSpec(corpus="synthetic", batch_size=2)
    spec = PruneSpec(scorer="gate_gradient", fraction=0.4, calibration=request)
    fingerprint = plan_units(model, spec, calibration).plan.calibration
    assert fingerprint.startswith(request.fingerprint())
    again, other = (
        CalibrationSet.of(calibration.ids + 0),
        CalibrationSet.of(calibration.ids.flip(0)),
    )
    assert plan_units(model, spec, again).plan.calibration == fingerprint
    assert plan_units(model, spec, other).plan.calibration != fingerprint
    free = spec.model_copy(update={"scorer": "magnitude_l2"})
    assert plan_units(model, free, calibration).plan.calibration is None


def test_seed_is_part_of_the_plan_only_where_it_matters() -> None:
    model = tiny_model("gpt2")
    spec = PruneSpec(scorer="random", fraction=0.4, seed=7)
    assert plan_units(model, spec).plan.seed == 7
    assert plan_units(model, spec.model_copy(update={"scorer": "magnitude_l1"})).plan.seed is None


def test_calibrated_scorer_without_text_is_refused() -> None:
    with pytest.raises(UsageError, match="'gate_gradient' reads calibration text") as caught:
        prune(tiny_model("gpt2"), PruneSpec(scorer="gate_gradient", fraction=0.5))
    assert "calibration" in caught.value.hint


def test_transferred_plan_keeps_the_minimum_and_whole_groups() -> None:
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.9)
    pattern = plan_units(tiny_model("gpt2", n_head=10, n_layer=4), spec).plan
    target = tiny_model("opt", num_attention_heads=2, num_hidden_layers=4)
    plan = plan_units(target, spec, pattern=pattern).plan
    assert plan.after.num_units("head") == (1, 1, 1, 1)
    emptied = plan_units(target, spec.model_copy(update={"min_per_layer": 0}), pattern=pattern)
    assert emptied.plan.after.num_units("head") == (0, 0, 0, 1)

    groups = PruneSpec(scorer="magnitude_l2", fraction=0.5, granularity="kv_group")
    pattern = plan_units(tiny_model("gpt2"), groups).plan
    plan = plan_units(tiny_model("llama"), groups, pattern=pattern).plan
    # two of five heads, so four of twelve groups
    assert plan.num_removed == {"head": 8, "kv_head": 4}
    assert plan.granularity == ("kv_group",)


@pytest.mark.parametrize("decide", [plan_units, prune])
@pytest.mark.parametrize("granularity", ["weight", "2:4"])
def test_pattern_for_single_weights_is_refused(granularity: str, decide: Any) -> None:
    pattern = plan_units(tiny_model("opt"), PruneSpec(scorer="magnitude_l2", fraction=0.5)).plan
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.5, granularity=granularity)
    with pytest.raises(UsageError, match=f"pattern was given for granularity {granularity}"):
        decide(tiny_model("gpt2", n_embd=40), spec, pattern=pattern)


def test_unknown_scorer_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown scorer"):
        prune(tiny_model("gpt2"), PruneSpec(scorer="magnitud", fraction=0.5))


def test_wrong_prediction_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "remove", lambda model, plan: model)
    with pytest.raises(CheckFailedError, match="removed 0 parameters, the plan predicts"):
        prune(tiny_model("gpt2"), PruneSpec(scorer="magnitude_l2", fraction=0.5))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_weights_of_an_earlier_plan_go_first_whatever_the_scores_say_now(family: str) -> None:
    model = tiny_model(family)
    less = PruneSpec(scorer="random", fraction=0.3, granularity="weight", seed=1)
    more = less.model_copy(update={"fraction": 0.6, "seed": 2})
    early = plan_units(model, less).plan
    late, plain = plan_units(model, more, first=early).plan, plan_units(model, more).plan
    for name, found in late.weights.items():
        assert not (found.keep() & ~early.weights[name].keep()).any()
        assert found.num_zero == plain.weights[name].num_zero


def test_heads_of_an_earlier_plan_go_first_whatever_the_scores_say_now() -> None:
    model = tiny_model("gpt2")
    less = PruneSpec(scorer="random", fraction=0.25, seed=1)
    more = less.model_copy(update={"fraction": 0.5, "seed": 2})
    early = plan_units(model, less).plan

    def gone(plan: PruningPlan) -> set[tuple[int, int]]:
        pairs = zip(plan.before.layers, plan.kept, strict=True)
        return {
            (i, head) for i, (old, new) in enumerate(pairs) for head in {*old.heads} - {*new.heads}
        }

    assert gone(early) < gone(plan_units(model, more, first=early).plan)
    assert not gone(early) <= gone(plan_units(model, more).plan)


def test_layers_of_another_scale_are_made_comparable_only_if_that_is_asked() -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        for weight in model.transformer.h[0].attn.parameters():
            weight.mul_(100)

    def kept(**changes: Any) -> int:
        spec = PruneSpec(scorer="magnitude_l2", scope="global", fraction=0.5, **changes)
        return len(plan_units(model, spec).plan.kept[0].heads)

    assert kept() == structure_of(model.config).num_units("head")[0]
    assert kept(normalise="layer") < kept()


def test_operations_of_a_model_that_is_pruned_again_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[Any] = []

    def count(model: PreTrainedModel, length: int) -> float:
        counted.append(model)
        return forward_flops_per_token(model, length)

    monkeypatch.setattr("sentinel_research.pruning.report.forward_flops_per_token", count)
    model = tiny_model("gpt2")
    first, second = (
        prune(model, PruneSpec(scorer="random", fraction=fraction)) for fraction in (0.2, 0.4)
    )
    assert [one is model for one in counted] == [True, False, False]
    assert first.report.flops_per_token_before == second.report.flops_per_token_before
    # another model, or the same one of another configuration, is counted
    prune(tiny_model("gpt2", seed=1), PruneSpec(scorer="random", fraction=0.2))
    model.config.summary_type = "mean"
    prune(model, PruneSpec(scorer="random", fraction=0.2))
    assert [one is model for one in counted[3:]] == [False, False, True, False]
