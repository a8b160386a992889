"""The stage as a whole: request in, pruned model and report out."""

import json

import pytest
import torch
from torch import Tensor

from sentinel_research import registry
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models import heads_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import PruneReport, apply, plan_heads, prune
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import CalibrationSpec, PruneSpec

FAMILIES = ["gpt2", "llama"]


@pytest.fixture
def sequences() -> Tensor:
    return torch.randint(256, (4, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scorer", ["random", "magnitude", "entropy", "taylor", "leave_one_out"])
@pytest.mark.parametrize("family", FAMILIES)
def test_report_says_what_happened(family: str, scorer: str, sequences: Tensor) -> None:
    model = tiny_model(family)
    pruned, report = prune(model, PruneSpec(scorer=scorer, fraction=0.5), sequences=sequences)
    heads = heads_of(model.config)
    per_layer = heads.num_heads // 2
    assert report.num_heads_before == 3 * heads.num_heads
    assert report.num_units_removed == report.num_units_requested == 3 * per_layer
    assert len(report.removed_heads) == 3 * per_layer
    assert report.num_units_short == 0
    assert report.num_parameters_before == model.num_parameters()
    assert report.num_parameters_after == pruned.num_parameters() < report.num_parameters_before
    assert report.flops_per_token_after < report.flops_per_token_before
    assert report.flops_sequence_length == 64
    assert report.plan.scorer == scorer
    assert (report.plan.seed is None) == (scorer != "random")
    assert pruned.config.pruning["scorer"] == scorer
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert PruneReport.model_validate_json(text) == report


@pytest.mark.parametrize("form", ["mask", "remove"])
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_asked_is_nothing_done(family: str, form: str) -> None:
    model = tiny_model(family)
    pruned, report = prune(model, PruneSpec(scorer="magnitude", fraction=0, form=form))
    inputs = probe_inputs(model)
    assert torch.equal(pruned(**inputs).logits, model(**inputs).logits)
    assert report.removed_heads == []
    assert report.flops_per_token_after == report.flops_per_token_before


@pytest.mark.parametrize("family", FAMILIES)
def test_mask_costs_what_the_dense_model_costs(family: str) -> None:
    model = tiny_model(family)
    spec = PruneSpec(scorer="magnitude", fraction=0.5, form="mask")
    masked, report = prune(model, spec)
    removed, other = prune(model, spec.model_copy(update={"form": "remove"}))
    assert report.plan == other.plan
    assert report.num_parameters_after == report.num_parameters_before
    assert report.num_parameters_removed_predicted == 0
    assert report.flops_per_token_after == report.flops_per_token_before
    inputs = probe_inputs(model)
    torch.testing.assert_close(masked(**inputs).logits, removed(**inputs).logits)


def test_flops_equal_the_closed_form() -> None:
    model = tiny_model("gpt2")
    _, report = prune(model, PruneSpec(scorer="magnitude", fraction=0.4))
    length, hidden, inner, vocabulary, width = 64, 30, 37, 259, 6
    for heads, found in ((5, report.flops_per_token_before), (3, report.flops_per_token_after)):
        attention = 4 * hidden * heads * width + 2 * length * heads * width
        layer = attention + 2 * hidden * inner
        assert found == 2 * (3 * layer + hidden * vocabulary)


def test_shortfall_of_the_minimum_is_reported() -> None:
    spec = PruneSpec(scorer="magnitude", fraction=1.0, min_heads_per_layer=2)
    pruned, report = prune(tiny_model("gpt2"), spec)
    assert report.num_units_requested == 15
    assert report.num_units_removed == 9
    assert report.num_units_short == 6
    assert heads_of(pruned.config).num_heads_per_layer == (2, 2, 2)


def test_all_heads_can_go_if_allowed() -> None:
    spec = PruneSpec(scorer="magnitude", fraction=1.0, min_heads_per_layer=0)
    pruned, _ = prune(tiny_model("llama"), spec)
    assert heads_of(pruned.config).num_heads_per_layer == (0, 0, 0)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_whole_groups_go_and_a_group_weighs_the_sum_of_its_heads(scope: str) -> None:
    model = tiny_model("llama")
    spec = PruneSpec(scorer="magnitude", fraction=0.5, scope=scope, granularity="kv_group")
    plan = plan_heads(model, spec).plan
    assert plan.num_kv_removed == 6
    assert plan.num_removed == 12
    if scope == "local":
        for kept, scores in zip(plan.kept_heads, plan.scores, strict=True):
            sums = [scores[2 * group] + scores[2 * group + 1] for group in range(4)]
            best = sorted(range(4), key=lambda group: sums[group])[2:]
            assert sorted({head // 2 for head in kept}) == sorted(best)


@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_model_can_be_pruned_again(family: str, sequences: Tensor) -> None:
    spec = PruneSpec(scorer="taylor", fraction=0.4)
    once, first = prune(tiny_model(family), spec, sequences=sequences)
    twice, second = prune(once, spec, sequences=sequences)
    assert second.plan.heads_before == first.plan.kept_heads
    assert not set(first.removed_heads) & set(second.removed_heads)
    assert second.num_parameters_before == first.num_parameters_after
    assert heads_of(twice.config).kept == second.plan.kept_heads


def test_plan_names_the_calibration_tokens(sequences: Tensor) -> None:
    model = tiny_model("gpt2")
    request = CalibrationSpec(corpus="synthetic", batch_size=2)
    spec = PruneSpec(scorer="taylor", fraction=0.4, calibration=request)
    fingerprint = plan_heads(model, spec, sequences).plan.calibration
    assert fingerprint.startswith(request.fingerprint())
    assert plan_heads(model, spec, sequences + 0).plan.calibration == fingerprint
    assert plan_heads(model, spec, sequences.flip(0)).plan.calibration != fingerprint
    free = spec.model_copy(update={"scorer": "magnitude"})
    assert plan_heads(model, free, sequences).plan.calibration is None


def test_calibrated_scorer_without_text_is_refused() -> None:
    with pytest.raises(UsageError, match="'taylor' reads calibration text") as caught:
        prune(tiny_model("gpt2"), PruneSpec(scorer="taylor", fraction=0.5))
    assert "calibration" in caught.value.hint


def test_unknown_scorer_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown scorer"):
        prune(tiny_model("gpt2"), PruneSpec(scorer="magnitud", fraction=0.5))


def _broken_scorer(monkeypatch: pytest.MonkeyPatch, scores: list[Tensor]) -> None:
    plugin = registry.Plugin("broken", lambda inputs: scores, "s", "r")
    monkeypatch.setattr(apply, "get", lambda group, name: plugin)


def test_scores_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _broken_scorer(monkeypatch, [torch.full((5,), torch.nan)] * 3)
    with pytest.raises(UsageError, match="score of unit 0 in layer 0 is nan"):
        prune(tiny_model("gpt2"), PruneSpec(scorer="broken", fraction=0.5))


def test_scores_of_the_wrong_shape_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _broken_scorer(monkeypatch, [torch.ones(4)] * 3)
    with pytest.raises(UsageError, match=r"returned \[4, 4, 4\] scores per layer"):
        prune(tiny_model("gpt2"), PruneSpec(scorer="broken", fraction=0.5))


def test_wrong_prediction_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "remove", lambda model, plan: model)
    with pytest.raises(CheckFailedError, match="removed 0 parameters, the plan predicts"):
        prune(tiny_model("gpt2"), PruneSpec(scorer="magnitude", fraction=0.5))
