"""Bias compensation: a removed unit's mean output, put where the model adds constants."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.pruning import PruningPlan, make_plan, mask, prune, remove, score_units
from sentinel_research.pruning.compensate import add_mean_outputs
from sentinel_research.specs import PruneSpec
from tests.pruning.conftest import every_form, statistics_of
from tests.pruning.subjects import (
    CALIBRATION,
    NUM_TOKENS,
    SUBJECTS,
    Subject,
    every_subject,
    fresh,
    readings,
    subject_of,
)

UNBIASED = ["llama-dense", "mistral-ragged", "qwen2-dense", "opt_unbiased-ragged"]


def _gone(subject: Subject, kind: str, layer: int) -> list[int]:
    """Every second unit, by place."""
    return list(range(0, subject.counts(kind)[layer], 2))


def _plan(subject: Subject, *layers: int, kinds: tuple[str, ...] = ("head", "neuron")) -> Any:
    """Every second head and neuron of some layers goes."""
    kept: dict[str, list[list[int]]] = {}
    for kind, units in (("head", subject.heads), ("neuron", subject.neurons)):
        kept[kind] = [list(layer) for layer in units]
        for layer in layers if kind in kinds else ():
            places = set(_gone(subject, kind, layer))
            kept[kind][layer] = [u for p, u in enumerate(units[layer]) if p not in places]
    structure = structure_of(subject.model.config)
    return make_plan(structure, kept["head"], neurons=kept["neuron"])


def _compensated(name: str, plan: PruningPlan) -> PreTrainedModel:
    return add_mean_outputs(subject_of(name).model, plan, statistics_of(name).total())


def _bias(model: PreTrainedModel, subject: Subject, layer: int, block: str) -> Tensor:
    """The output bias of a block, found by the place of its module in the subject's model."""
    module = subject.output(layer, block)
    path = next(n for n, m in subject.model.named_modules() if m is module)
    found = model.get_submodule(path).bias
    return torch.zeros(1) if found is None else found.detach()


@pytest.mark.parametrize(("block", "kind"), [("attention", "head"), ("ffn", "neuron")])
@every_subject
def test_bias_gains_the_mean_output_of_the_units_that_go(name: str, block: str, kind: str) -> None:
    """Slow form: the units' inputs at every text position, through their weights, averaged."""
    subject = subject_of(name)
    result = _compensated(name, _plan(subject, 0, 1, 2))
    for layer, count in enumerate(subject.counts(kind)):
        gained = _bias(result, subject, layer, block) - _bias(subject.model, subject, layer, block)
        if not count:
            assert not gained.any()
            continue
        module = subject.output(layer, block)
        (reading,) = readings(subject.model, [module])
        expected = torch.zeros(len(gained), dtype=torch.float64)
        for position in reading.read:
            for unit in _gone(subject, kind, layer):
                own = subject.columns(kind, unit)
                expected += subject.matrix(module)[:, own] @ position[own] / NUM_TOKENS
        torch.testing.assert_close(gained.double(), expected, rtol=1e-4, atol=1e-5)
        assert float(gained.abs().max()) > 1e-3


@pytest.mark.parametrize("name", [n for n in SUBJECTS if n.endswith("ragged")])
def test_mask_and_removal_of_the_compensated_model_agree(name: str) -> None:
    subject = subject_of(name)
    plan = _plan(subject, 0, 2)
    result = _compensated(name, plan)
    ids = CALIBRATION.ids[:2]
    with torch.no_grad():
        masked, removed = mask(result, plan)(ids).logits, remove(result, plan)(ids).logits
        plain = mask(subject.model, plan)(ids).logits
    # removal sums fewer terms; float32 has seven digits
    assert float((masked - removed).abs().max()) <= 1e-5 * float(masked.abs().max())
    assert float((masked - plain).abs().max()) > 1e-2


@pytest.mark.parametrize("form", ["remove", "mask"])
@every_form
def test_pruning_with_compensation_is_compensation_then_pruning(name: str, form: str) -> None:
    subject = subject_of(name)
    spec = PruneSpec(
        scorer="flap", fraction=0.5, compensate="bias", form=form, granularity=("head", "neuron")
    )
    pruned, report = prune(subject.model, spec, calibration=CALIBRATION)
    assert report.compensate == "bias"
    by_hand = (remove if form == "remove" else mask)(_compensated(name, report.plan), report.plan)
    with torch.no_grad():
        found, expected = pruned(CALIBRATION.ids).logits, by_hand(CALIBRATION.ids).logits
    # means from batches of another shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scorer", ["magnitude_l2", "gate_gradient"])
def test_scores_made_without_what_compensation_reads_are_refused(scorer: str) -> None:
    model = subject_of("gpt2-dense").model
    plain = PruneSpec(scorer=scorer, fraction=0.4)
    spec = PruneSpec(scorer=scorer, fraction=0.4, compensate="bias")
    scores = score_units(model, plain, CALIBRATION)
    with pytest.raises(UsageError, match="scores given were made without them") as caught:
        prune(model, spec, calibration=CALIBRATION, scores=scores)
    assert "score_units(model, spec, calibration)" in caught.value.hint
    given = prune(model, spec, scores=score_units(model, spec, CALIBRATION)).model
    own = prune(model, spec, calibration=CALIBRATION).model
    with torch.no_grad():
        assert torch.equal(given(CALIBRATION.ids).logits, own(CALIBRATION.ids).logits)


@pytest.mark.parametrize("name", UNBIASED)
def test_family_without_output_biases_gains_them(name: str) -> None:
    subject = subject_of(name)
    before = structure_of(subject.model.config)
    assert not (before.attention_output_bias and before.ffn_output_bias)
    result = _compensated(name, _plan(subject, 0))
    after = structure_of(result.config)
    assert after.attention_output_bias
    assert after.ffn_output_bias
    assert after.layers == before.layers
    added = result.num_parameters() - subject.model.num_parameters()
    missing = sum(subject.has_attention) * (not before.attention_output_bias)
    missing += sum(subject.has_ffn) * (not before.ffn_output_bias)
    assert added == missing * subject.model.config.hidden_size


@pytest.mark.parametrize("name", ["gpt2-dense", "opt-ragged", "bloom-gutted", "gpt_neox-dense"])
def test_family_with_output_biases_stays_what_it_is(name: str) -> None:
    subject = subject_of(name)
    result = _compensated(name, _plan(subject, 0, 2))
    assert type(result) is type(subject.model)
    assert result.config.to_dict() == subject.model.config.to_dict()
    before, after = subject.model.state_dict(), result.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.endswith(".bias") for key in changed)


@pytest.mark.parametrize("name", [*UNBIASED, "gpt2-dense", "bloom-ragged"])
def test_compensated_and_pruned_model_is_bit_equal_after_a_reload(
    name: str, tmp_path: Path
) -> None:
    subject = subject_of(name)
    spec = PruneSpec(scorer="flap", fraction=0.4, compensate="bias", granularity=("head", "neuron"))
    pruned = prune(subject.model, spec, calibration=CALIBRATION).model
    pruned.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    before, after = pruned.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    with torch.no_grad():
        assert torch.equal(loaded(CALIBRATION.ids).logits, pruned(CALIBRATION.ids).logits)


@pytest.mark.parametrize("kind", ["head", "neuron"])
@every_subject
def test_compensation_takes_the_mean_out_of_the_blocks_error(name: str, kind: str) -> None:
    """A theorem where the block's own input is that of the dense model.

    The error is `W (x - mean x)` instead of `W x`: its mean is zero, and its square smaller by the
    square of that mean.
    """
    subject, block = subject_of(name), "attention" if kind == "head" else "ffn"
    layer = next(i for i, count in enumerate(subject.counts(kind)) if count > 1)
    plan = _plan(subject, layer, kinds=(kind,))
    module = subject.output(layer, block)
    path = next(n for n, m in subject.model.named_modules() if m is module)
    (dense,) = readings(subject.model, [module])
    errors = []
    for model in (mask(subject.model, plan), mask(_compensated(name, plan), plan)):
        (reading,) = readings(model, [model.get_submodule(path)])
        errors.append(reading.wrote - dense.wrote)
    raw, centred = errors
    assert float(centred.mean(dim=0).abs().max()) <= 1e-5 * float(raw.abs().max())
    squares = [float(error.square().sum(dim=1).mean()) for error in errors]
    assert squares[1] < squares[0]
    explained = float(raw.mean(dim=0).square().sum())
    assert squares[0] - squares[1] == pytest.approx(explained, rel=1e-3)


def test_unit_that_hands_over_a_constant_is_replaced_without_error() -> None:
    """A neuron that does not look at its input is a bias already."""
    subject = fresh("gpt_neox-dense")
    (inputs,) = subject.inputs(1, "ffn")
    with torch.no_grad():
        inputs.weight[0] = 0.0
        inputs.bias[0] = 2.0
    structure = structure_of(subject.model.config)
    plan = make_plan(structure, neurons=[range(37), range(1, 37), range(37)])
    spec = PruneSpec(scorer="flap", fraction=0.0, compensate="bias", granularity="neuron")
    scores = score_units(subject.model, spec, CALIBRATION)
    assert scores.values["neuron"][1][0] == pytest.approx(0.0, abs=1e-9)
    assert scores.statistics is not None
    result = remove(add_mean_outputs(subject.model, plan, scores.statistics.total()), plan)
    with torch.no_grad():
        found, expected = (m(CALIBRATION.ids).logits for m in (result, subject.model))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("block", ["attention", "ffn"])
def test_block_that_goes_as_a_whole_is_not_compensated(block: str) -> None:
    """Its bias goes with it, and nothing else may take its place."""
    subject = subject_of("gpt2-dense")
    plan = make_plan(structure_of(subject.model.config), without={block: [1]})
    result = _compensated("gpt2-dense", plan)
    before, after = subject.model.state_dict(), result.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["gpt2-dense", "llama-ragged"])
def test_compensation_leaves_the_model_that_it_was_given_alone(name: str) -> None:
    subject = fresh(name)
    before = copy.deepcopy(subject.model.state_dict())
    result = add_mean_outputs(subject.model, _plan(subject, 0, 1, 2), statistics_of(name).total())
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.fill_(7.0)
    after = subject.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_plan_that_removes_nothing_adds_nothing() -> None:
    subject = subject_of("gpt2-dense")
    result = _compensated("gpt2-dense", make_plan(structure_of(subject.model.config)))
    before, after = subject.model.state_dict(), result.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
