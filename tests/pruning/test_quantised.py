"""Quantising around a pruning: what the scorer sees, and on which grid the result lies."""

import copy
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import plan_units, prune, remove
from sentinel_research.quantisation import quantise_in_place, quantised_copy, quantised_names
from sentinel_research.recipe import parse
from sentinel_research.registry import get
from sentinel_research.specs import PruneGrid, PruneSpec, QuantiseSpec

GRID = QuantiseSpec(bits=2)


@pytest.fixture
def text() -> CalibrationSet:
    generator = torch.Generator().manual_seed(1)
    return CalibrationSet.of(torch.randint(256, (4, 8), generator=generator))


def _spec(when: str | None, **changes: Any) -> PruneSpec:
    quantise = {} if when is None else {"quantise": {"bits": 2, "when": when}}
    return PruneSpec(**{"scorer": "magnitude_l2", "fraction": 0.4, **quantise, **changes})


def _equal(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)


def _on_grid(model: PreTrainedModel) -> bool:
    return _equal(model, quantised_copy(model, GRID))


@pytest.mark.parametrize("scorer", ["magnitude_l2", "gate_gradient", "taylor_weights", "fisher"])
@pytest.mark.parametrize("when", ["scores", "joint", "before"])
def test_scores_are_those_of_the_quantised_model(
    when: str, scorer: str, text: CalibrationSet
) -> None:
    model = tiny_model("gpt2", seed=3)
    kind = "head" if "head" in get("scorers", scorer).units else "weight"
    asked = {"scorer": scorer, "granularity": kind}
    plan = plan_units(model, _spec(when, **asked), text).plan
    expected = plan_units(quantised_copy(model, GRID), _spec(None, **asked), text).plan
    plain = plan_units(model, _spec(None, **asked), text).plan
    assert (plan.scores, plan.kept, plan.weights) == (
        expected.scores, expected.kept, expected.weights,
    )  # fmt: skip
    assert (plan.scores, plan.weights) != (plain.scores, plain.weights)
    assert plan.quantised_scores == GRID
    assert plain.quantised_scores is None


@pytest.mark.parametrize("granularity", ["head", "weight", ("head", "neuron")], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.long
def test_every_order_leaves_the_weights_that_it_says(family: str, granularity: object) -> None:
    model = tiny_model(family, seed=3)
    before = copy.deepcopy(model)
    asked = {"granularity": granularity}
    scores, first, after, joint = (
        prune(model, _spec(when, **asked)) for when in ("scores", "before", "after", "joint")
    )
    plan, plain = scores.report.plan, prune(model, _spec(None, **asked))
    # scores alone change which units go, and no weight
    assert _equal(scores.model, remove(model, plan))
    assert scores.report.quantised is None
    # quantised first: the dense model's grids
    assert first.report.plan == plan
    assert _equal(first.model, remove(quantised_copy(model, GRID), plan))
    # pruned first: grids of what stays, chosen by the model's own weights
    assert after.report.plan == plain.report.plan
    assert _equal(after.model, quantised_copy(plain.model, GRID))
    assert _on_grid(after.model)
    # joint: chosen by quantised weights, on grids of what stays
    assert joint.report.plan == plan
    assert _equal(joint.model, quantised_copy(scores.model, GRID))
    assert _on_grid(joint.model)
    for one in (first, after, joint):
        assert one.report.quantised is not None
        assert one.report.quantised.bits == 2
        # two bits are minus one, zero and one: many weights are zero now
        nonzero = sum(int(p.count_nonzero()) for p in one.model.parameters())
        assert one.report.num_nonzero_parameters_after == nonzero
    assert _equal(model, before)


def test_zeroed_weights_stay_zero() -> None:
    model = tiny_model("gpt2", seed=3)
    for when in ("before", "after", "joint"):
        quantise = {"bits": 3, "when": when, "symmetric": False, "group_size": 5}
        spec = _spec(None, granularity="weight", fraction=0.5, quantise=quantise)
        found = prune(model, spec)
        for name, mask in found.report.plan.weights.items():
            gone = ~torch.from_numpy(mask.keep())
            assert not bool(found.model.get_parameter(name)[gone].any())


def test_masked_form_of_a_quantised_model_agrees_with_removal() -> None:
    model = tiny_model("llama", seed=3)
    ids = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        masked, removed = (
            prune(model, _spec("before", form=form)).model(input_ids=ids).logits
            for form in ("mask", "remove")
        )
    # float32 sums in another order
    torch.testing.assert_close(masked, removed, rtol=1e-4, atol=1e-4)


def test_bias_compensation_of_a_quantised_model_stays_on_its_grids(text: CalibrationSet) -> None:
    model = tiny_model("gpt2", seed=3)
    spec = _spec("before", scorer="flap", compensate="bias")
    found = prune(model, spec, calibration=text).model
    plan = prune(model, _spec("before", scorer="flap"), calibration=text).report.plan
    expected = remove(quantised_copy(model, GRID), plan)
    for name in quantised_names(found):
        assert torch.equal(found.get_parameter(name), expected.get_parameter(name))


@pytest.mark.parametrize("when", ["scores", "before", "joint"])
def test_solver_that_sets_weights_is_refused_before_it_would_leave_the_grid(
    when: str, text: CalibrationSet
) -> None:
    spec = _spec(when, scorer="sparsegpt", granularity="weight")
    with pytest.raises(UsageError, match=f"when: {when}"):
        prune(tiny_model("gpt2"), spec, calibration=text)


def test_solver_may_be_quantised_after(text: CalibrationSet) -> None:
    spec = _spec("after", scorer="sparsegpt", granularity="weight")
    assert _on_grid(prune(tiny_model("gpt2"), spec, calibration=text).model)


@pytest.mark.parametrize(
    ("quantise", "why"),
    [
        ({"bits": 1, "when": "after"}, "bits"),
        ({"bits": 9, "when": "after"}, "bits"),
        ({"bits": 4}, "when"),
        ({"bits": 4, "when": "later"}, "when"),
        ({"bits": 4, "when": "after", "group_size": 0}, "group_size"),
    ],
)
def test_bad_values_are_refused_by_name(quantise: dict[str, Any], why: str) -> None:
    content = {"scorer": "random", "fraction": 0.5, "quantise": quantise}
    with pytest.raises(UsageError, match=why):
        parse(PruneSpec, content, "prune")


@pytest.mark.parametrize("when", ["after", "joint"])
def test_rounding_what_a_mask_hides_is_refused(when: str) -> None:
    quantise = {"bits": 4, "when": when}
    for spec, content in (
        (PruneSpec, {"scorer": "random", "fraction": 0.5}),
        (PruneGrid, {"scorers": ["random"], "fractions": [0.5]}),
    ):
        with pytest.raises(UsageError, match="form: remove"):
            parse(spec, {**content, "form": "mask", "quantise": quantise}, "prune")


def test_origin_in_a_configuration_names_the_grid_only_where_there_is_one() -> None:
    model = tiny_model("gpt2")
    with_grid, without = (prune(model, _spec(when)).report.plan for when in ("scores", None))
    assert with_grid.provenance()["quantised_scores"]["bits"] == 2
    assert "quantised_scores" not in without.provenance()


def test_pruning_a_quantised_model_further_keeps_it_quantised() -> None:
    model = quantised_copy(tiny_model("llama", seed=3), GRID)
    found = prune(model, _spec("after")).model
    report = quantise_in_place(found, GRID)
    assert report.relative_error == 0
