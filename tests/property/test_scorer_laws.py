"""Laws of scoring: how scores follow what moves, and what they may not depend on.

Weights are moved by hand, in the layout of every family; which scores have to follow, and how, is
what each criterion's formula says.
"""

import functools

import pytest
import torch
from hypothesis import given, strategies
from torch import Tensor

from sentinel_research.pruning import ScoringInputs, calibrate
from sentinel_research.pruning.calibrate import collect
from sentinel_research.registry import get
from tests.property.conftest import every_family, share
from tests.pruning.subjects import CALIBRATION, Subject, fresh, subject_of

HEAD_SCORERS = (
    "magnitude_l1", "magnitude_l2", "gate_gradient", "taylor", "taylor_signed", "fisher",
    "activation_norm", "wanda", "flap", "entropy_low", "entropy_high", "redundancy",
)  # fmt: skip
NEURON_SCORERS = (
    "magnitude_l1", "magnitude_l2", "gate_gradient", "taylor", "taylor_signed", "fisher",
    "activation_norm", "wanda", "flap",
)  # fmt: skip
FUSED = ("gpt2", "bloom", "gpt_neox")
ABLATED = ("gpt2",)

Scores = dict[str, list[Tensor]]


def _scores(subject: Subject, kind: str) -> Scores:
    """What every scorer says, from one pass; ablation, which takes many, where it is cheap."""
    names = HEAD_SCORERS if kind == "head" else NEURON_SCORERS
    if kind == "head" and subject.family in ABLATED:
        names = (*names, "leave_one_out")
    needs = {(need, kind) for name in names for need in get("scorers", name).needs}
    needs.discard(("input_norms", kind))
    totals = collect(subject.model, CALIBRATION, needs, batch_size=5).total()
    inputs = ScoringInputs(model=subject.model, kind=kind, totals=totals)
    return {name: get("scorers", name)(inputs) for name in names}


@functools.cache
def _dense(family: str, kind: str) -> Scores:
    return _scores(subject_of(f"{family}-dense"), kind)


def _assert_close(found: list[Tensor], expected: list[Tensor], name: str) -> None:
    """Equal up to float32 sums in another order; losses of size 7 bound what ablation can tell."""
    floor = 5e-6 if name == "leave_one_out" else 1e-7
    for layer, wanted in zip(found, expected, strict=True):
        bound = 1e-4 * float(wanted.abs().max()) + floor
        assert float((layer - wanted).abs().max()) <= bound, name


@torch.no_grad()
def _permute_heads(subject: Subject, layer: int, heads: list[int], groups: list[int]) -> None:
    """Heads in another order; KV heads in the order that their query heads' groups now have."""
    width, modules = subject.head_dim, subject.inputs(layer, "attention")
    count = len(subject.heads[layer])
    if subject.family == "gpt2":
        (fused,) = modules
        fused.weight.copy_(
            fused.weight.view(-1, 3, count, width)[:, :, heads].reshape(fused.weight.shape)
        )
        fused.bias.copy_(fused.bias.view(3, count, width)[:, heads].flatten())
    elif subject.family in FUSED:
        (fused,) = modules
        fused.weight.copy_(
            fused.weight.view(count, 3 * width, -1)[heads].reshape(fused.weight.shape)
        )
        fused.bias.copy_(fused.bias.view(count, 3 * width)[heads].flatten())
    else:
        for module, order in zip(modules, (heads, groups, groups), strict=True):
            for parameter in module.parameters():
                parts = parameter.view(len(order), width, -1)[order]
                parameter.copy_(parts.reshape(parameter.shape))
    output = subject.output(layer, "attention").weight
    oriented = output.T if subject.family == "gpt2" else output
    oriented.copy_(oriented.reshape(-1, count, width)[:, heads].flatten(1).clone())


@every_family
@share(0.5)
@given(data=strategies.data())
def test_scores_follow_heads_that_change_places(family: str, data: strategies.DataObject) -> None:
    subject = fresh(f"{family}-dense")
    size = subject.group_size
    orders = []
    for layer in range(3):
        groups = data.draw(strategies.permutations(range(len(subject.heads[layer]) // size)))
        inside = [data.draw(strategies.permutations(range(size))) for _ in groups]
        heads = [g * size + i for g, order in zip(groups, inside, strict=True) for i in order]
        _permute_heads(subject, layer, heads, groups)
        orders.append(heads)
    found = _scores(subject, "head")
    # a head's ALiBi slope belongs to its place, so BLOOM's heads compute something else there
    names = list(found) if family != "bloom" else ["magnitude_l1", "magnitude_l2"]
    for name in names:
        before = _dense(family, "head")[name]
        expected = [layer[order] for layer, order in zip(before, orders, strict=True)]
        _assert_close(found[name], expected, name)


@every_family
@share(0.5)
@given(data=strategies.data())
def test_scores_follow_neurons_that_change_places(family: str, data: strategies.DataObject) -> None:
    subject = fresh(f"{family}-dense")
    seed = data.draw(strategies.integers(0, 999))
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(units), generator=generator) for units in subject.neurons]
    axis = 1 if family == "gpt2" else 0
    with torch.no_grad():
        for layer, order in enumerate(orders):
            for module in subject.inputs(layer, "ffn"):
                module.weight.copy_(module.weight.index_select(axis, order))
                if module.bias is not None:
                    module.bias.copy_(module.bias[order])
            output = subject.output(layer, "ffn").weight
            output.copy_(output.index_select(1 - axis, order))
    found = _scores(subject, "neuron")
    for name in NEURON_SCORERS:
        before = _dense(family, "neuron")[name]
        expected = [layer[order] for layer, order in zip(before, orders, strict=True)]
        _assert_close(found[name], expected, name)


@torch.no_grad()
def _scale_values(subject: Subject, layer: int, group: int, factor: float) -> list[int]:
    """`c * W_v` and `W_o / c` for a KV group: the model computes the same. The heads concerned."""
    width, modules = subject.head_dim, subject.inputs(layer, "attention")
    count = len(subject.heads[layer])
    heads = list(range(group * subject.group_size, (group + 1) * subject.group_size))
    if subject.family == "gpt2":
        modules[0].weight.view(-1, 3, count, width)[:, 2, group] *= factor
        modules[0].bias.view(3, count, width)[2, group] *= factor
    elif subject.family in FUSED:
        modules[0].weight.view(count, 3, width, -1)[group, 2] *= factor
        modules[0].bias.view(count, 3, width)[group, 2] *= factor
    else:
        for parameter in modules[2].parameters():
            parameter[group * width : (group + 1) * width] *= factor
    output = subject.output(layer, "attention").weight
    oriented = output.T if subject.family == "gpt2" else output
    for head in heads:
        oriented[:, subject.columns("head", head)] /= factor
    return heads


@every_family
@share(0.3)
@given(data=strategies.data(), exponent=strategies.integers(-4, 4))
def test_rescaling_values_against_output_weights_changes_only_what_reads_one_of_them(
    family: str, data: strategies.DataObject, exponent: int
) -> None:
    subject, factor = fresh(f"{family}-dense"), 2.0**exponent
    layer = data.draw(strategies.integers(0, 2))
    num_groups = len(subject.heads[layer]) // subject.group_size
    heads = _scale_values(subject, layer, data.draw(strategies.integers(0, num_groups - 1)), factor)
    found, before = _scores(subject, "head"), _dense(family, "head")
    for name in found:
        if not name.startswith(("magnitude", "activation")):
            _assert_close(found[name], before[name], name)
    expected = [values.clone() for values in before["activation_norm"]]
    expected[layer][heads] *= factor
    _assert_close(found["activation_norm"], expected, "activation_norm")
    if exponent:
        for name in ("magnitude_l1", "magnitude_l2"):
            moved = (found[name][layer] - before[name][layer]).abs() > 1e-6
            assert moved.nonzero().flatten().tolist() == heads


@pytest.mark.parametrize("family", ["opt", "llama", "mistral", "qwen2"])
@share(0.3)
@given(unit=strategies.integers(0, 36), exponent=strategies.integers(-4, 4))
def test_rescaling_a_homogeneous_neuron_changes_only_what_reads_one_side(
    family: str, unit: int, exponent: int
) -> None:
    """ReLU and gated neurons are linear in a positive factor of their (last) input weights."""
    subject, factor = fresh(f"{family}-dense"), 2.0**exponent
    with torch.no_grad():
        for parameter in subject.inputs(1, "ffn")[-1].parameters():
            parameter[unit] *= factor
        subject.output(1, "ffn").weight[:, unit] /= factor
    found, before = _scores(subject, "neuron"), _dense(family, "neuron")
    for name in ("gate_gradient", "taylor", "taylor_signed", "fisher", "wanda", "flap"):
        _assert_close(found[name], before[name], name)
    expected = [values.clone() for values in before["activation_norm"]]
    expected[1][unit] *= factor
    _assert_close(found["activation_norm"], expected, "activation_norm")


@every_family
@share(0.3)
@given(exponent=strategies.integers(-6, 6))
def test_magnitude_is_proportional_to_the_weights(family: str, exponent: int) -> None:
    """Exactly, for a power of two: no ranking can change."""
    subject, factor = fresh(f"{family}-dense"), 2.0**exponent
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.mul_(factor)
    for kind in ("head", "neuron", "attention", "ffn", "layer", "weight"):
        for name in ("magnitude_l1", "magnitude_l2"):
            before = get("scorers", name)(
                ScoringInputs(model=subject_of(f"{family}-dense").model, kind=kind)
            )
            after = get("scorers", name)(ScoringInputs(model=subject.model, kind=kind))
            assert all(torch.equal(a, b * factor) for a, b in zip(after, before, strict=True))


# to which power of the loss a criterion is proportional
POWERS = {"gate_gradient": 1, "taylor": 1, "taylor_signed": 1, "leave_one_out": 1, "fisher": 2}


@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom"])
@share(0.5)
@given(factor=strategies.floats(0.01, 100))
def test_scores_are_proportional_to_a_power_of_the_loss_or_never_see_it(
    family: str, factor: float
) -> None:
    """A loss in bits, or summed instead of averaged, ranks units the same."""
    plain = calibrate.sequence_nll
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "sequence_nll", lambda *args: factor * plain(*args))
        found = _scores(subject_of(f"{family}-dense"), "head")
    for name, before in _dense(family, "head").items():
        scale = factor ** POWERS.get(name, 0)
        unscaled = [layer / scale for layer in found[name]]
        if name in POWERS:
            _assert_close(unscaled, before, name)
        else:
            assert all(torch.equal(a, b) for a, b in zip(unscaled, before, strict=True)), name
