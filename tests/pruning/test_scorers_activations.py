"""Scores from the inputs of output projections, against those inputs kept whole."""

import functools

import pytest
import torch
from torch import Tensor

from sentinel_research.models import structure_of
from sentinel_research.pruning import ScoringInputs, make_plan, mask
from sentinel_research.pruning.calibrate import collect
from sentinel_research.pruning.compensate import add_mean_outputs
from sentinel_research.registry import get
from tests.pruning.conftest import (
    assert_scores,
    score,
    statistics_of,
)
from tests.pruning.subjects import (
    CALIBRATION,
    NUM_TOKENS,
    Subject,
    every_subject,
    fresh,
    readings,
    subject_of,
)

every_kind = pytest.mark.parametrize("kind", ["head", "neuron"])


@functools.cache
def _read(name: str, kind: str) -> list[Tensor]:
    """Inputs `x` of the output projections at all text positions, [tokens, channels]."""
    subject = subject_of(name)
    block = "attention" if kind == "head" else "ffn"
    modules = [subject.output(layer, block) for layer in range(3)]
    return [reading.read for reading in readings(subject.model, modules)]


def _units(subject: Subject, kind: str, layer: int) -> list[slice]:
    return [subject.columns(kind, unit) for unit in range(subject.counts(kind)[layer])]


def _weight(subject: Subject, kind: str, layer: int) -> Tensor:
    return subject.matrix(subject.output(layer, "attention" if kind == "head" else "ffn"))


@every_kind
@every_subject
def test_activation_norm_is_the_root_mean_square_of_what_a_unit_hands_over(
    name: str, kind: str
) -> None:
    subject = subject_of(name)
    expected = [
        [float(torch.linalg.norm(read[:, own]) / NUM_TOKENS**0.5) for own in units]
        for read, units in (
            (read, _units(subject, kind, layer)) for layer, read in enumerate(_read(name, kind))
        )
    ]
    assert_scores(score(name, "activation_norm", kind), expected)


@every_kind
@every_subject
def test_wanda_is_the_size_of_output_weights_times_the_norm_of_their_input(
    name: str, kind: str
) -> None:
    subject = subject_of(name)
    expected: list[list[float]] = []
    for layer, read in enumerate(_read(name, kind)):
        expected.append([])
        for own in _units(subject, kind, layer):
            norms = [torch.linalg.norm(column) for column in read[:, own].T]
            weights = _weight(subject, kind, layer)[:, own].abs()
            total = sum(weights[:, j].sum() * norm for j, norm in enumerate(norms))
            expected[-1].append(float(total))
    assert_scores(score(name, "wanda", kind), expected)


@every_kind
@every_subject
def test_flap_is_the_unbiased_variance_times_the_squared_output_weights(
    name: str, kind: str
) -> None:
    subject = subject_of(name)
    expected: list[list[float]] = []
    for layer, read in enumerate(_read(name, kind)):
        expected.append([])
        for own in _units(subject, kind, layer):
            variance = torch.var(read[:, own], dim=0, unbiased=True)
            norms = torch.linalg.norm(_weight(subject, kind, layer)[:, own], dim=0)
            expected[-1].append(float((variance * norms.square()).sum()))
    assert_scores(score(name, "flap", kind), expected)


@every_kind
@every_subject
def test_flap_is_the_fluctuation_that_a_mean_in_the_units_place_leaves(
    name: str, kind: str
) -> None:
    """`E_t ||W_j (x_j - mean x_j)||^2` over the unit's channels, up to the unbiased factor."""
    subject = subject_of(name)
    expected: list[list[float]] = []
    for layer, read in enumerate(_read(name, kind)):
        expected.append([])
        for own in _units(subject, kind, layer):
            total = 0.0
            for column, weights in zip(
                read[:, own].T, _weight(subject, kind, layer)[:, own].T, strict=True
            ):
                errors = torch.outer(column - column.mean(), weights)  # [tokens, outputs]
                total += float(errors.square().sum(dim=1).sum()) / (NUM_TOKENS - 1)
            expected[-1].append(total)
    assert_scores(score(name, "flap", kind), expected)


@pytest.mark.parametrize("name", ["gpt2-dense", "opt-ragged", "gpt_neox-dense", "llama-dense"])
def test_flap_of_a_neuron_is_the_error_of_its_block_once_compensated(name: str) -> None:
    """End to end: mask the neuron, add its mean to the bias, and look at what the block writes."""
    subject, layer, unit = subject_of(name), 0, 3
    structure = structure_of(subject.model.config)
    neurons = [list(kept) for kept in subject.neurons]
    del neurons[layer][unit]
    plan = make_plan(structure, neurons=neurons)
    totals = statistics_of(name).total()
    compensated = mask(add_mean_outputs(subject.model, plan, totals), plan)
    module = subject.output(layer, "ffn")
    path = next(n for n, m in subject.model.named_modules() if m is module)
    (before,) = readings(subject.model, [module])
    (after,) = readings(compensated, [compensated.get_submodule(path)])
    error = float((before.wrote - after.wrote).square().sum(dim=1).sum()) / (NUM_TOKENS - 1)
    # the difference of float32 outputs of size 1: 1e-6 of an error of 1e-2
    assert float(score(name, "flap", "neuron")[layer][unit]) == pytest.approx(error, rel=1e-3)


@torch.no_grad()
def test_unit_that_always_hands_over_the_same_does_not_fluctuate() -> None:
    """Its values have a mean a hundred thousand times larger than float32 resolves in a square."""
    subject = fresh("llama_biased-dense")
    value, output = subject.inputs(0, "attention")[2], subject.output(0, "attention")
    value.weight.zero_()
    value.bias.fill_(1000.7)
    totals = collect(subject.model, CALIBRATION, [("channel_moments", "head")]).total()
    inputs = ScoringInputs(model=subject.model, kind="head", totals=totals)
    (read,) = readings(subject.model, [output])
    # what is left is the rounding of attention weights that sum to 1 in float32
    spread = float(read.read.std(dim=0).max()) ** 2
    power = subject.matrix(output).square().sum(dim=0).view(8, -1).sum(dim=1)
    assert spread < 1e-6
    assert bool((get("scorers", "flap")(inputs)[0] <= 2 * spread * power).all())


@torch.no_grad()
def test_rescaling_values_against_output_weights_changes_no_score_of_their_product() -> None:
    """`W_o / c` and `c * W_v` compute the same: Wanda and FLAP agree, the norm alone does not."""
    subject, needs = fresh("opt-dense"), [("channel_moments", "head")]
    before = {name: score("opt-dense", name)[0] for name in ("wanda", "flap", "activation_norm")}
    own = subject.columns("head", 2)
    value = subject.inputs(0, "attention")[2]
    value.weight[own] *= 8
    value.bias[own] *= 8
    subject.output(0, "attention").weight[:, own] /= 8
    totals = collect(subject.model, CALIBRATION, needs).total()
    inputs = ScoringInputs(model=subject.model, kind="head", totals=totals)
    for name in ("wanda", "flap"):
        assert_scores(get("scorers", name)(inputs)[:1], [before[name]])
    norm = get("scorers", "activation_norm")(inputs)[0]
    expected = before["activation_norm"] * torch.tensor([1, 1, 8, 1, 1])
    assert_scores([norm], [expected])
