"""Gate scores against gradients that an ordinary backward pass leaves in the weights.

A gate multiplies a unit's slice of the output projection, so `dL/dgate` at 1 is the sum of
`W * dL/dW` over that slice. The oracle never installs a gate.
"""

import pytest
import torch
from torch import Tensor

from tests.pruning.conftest import (
    assert_scores,
    score,
)
from tests.pruning.subjects import (
    CALIBRATION,
    every_subject,
    fresh,
    gradients,
    nll,
    sequences,
    subject_of,
)

GATED = ("head", "neuron", "attention", "ffn")
every_kind = pytest.mark.parametrize("kind", GATED)


def _gate_gradients(name: str, kind: str) -> list[Tensor]:
    """`dL/dgate` of every sequence through the weights, per layer [sequences, units]."""
    subject = subject_of(name)
    names = {id(p): n for n, p in subject.model.named_parameters()}
    block = "attention" if kind in ("head", "attention") else "ffn"
    axis = 1 if subject.family == "gpt2" else 0
    found = []
    for layer, count in enumerate(subject.counts(kind)):
        rows = torch.zeros(len(CALIBRATION), count, dtype=torch.float64)
        module = subject.output(layer, block)
        for place, gradient in enumerate(gradients(name)):
            products = {
                key: (p.detach() * gradient[names[id(p)]]).double()
                for key, p in module.named_parameters()
            }
            if kind in ("attention", "ffn"):
                # the gate of a block multiplies its output bias too
                rows[place] = sum(float(product.sum()) for product in products.values())
            elif count:
                per_input = products["weight"].sum(dim=axis)
                for unit in range(count):
                    rows[place, unit] = per_input[subject.columns(kind, unit)].sum()
        found.append(rows)
    return found


@every_kind
@every_subject
def test_gate_gradient_is_the_mean_size_of_each_sequences_gradient(name: str, kind: str) -> None:
    expected = [rows.abs().mean(dim=0) for rows in _gate_gradients(name, kind)]
    assert_scores(score(name, "gate_gradient", kind), expected)


@every_kind
@every_subject
def test_taylor_is_the_size_of_the_mean_gradient(name: str, kind: str) -> None:
    rows = _gate_gradients(name, kind)
    assert_scores(score(name, "taylor", kind), [layer.mean(dim=0).abs() for layer in rows])


@every_kind
@every_subject
def test_signed_taylor_is_minus_the_mean_gradient(name: str, kind: str) -> None:
    rows = _gate_gradients(name, kind)
    assert_scores(score(name, "taylor_signed", kind), [-layer.mean(dim=0) for layer in rows])


@every_kind
@every_subject
def test_fisher_is_half_the_mean_squared_gradient(name: str, kind: str) -> None:
    expected = [rows.square().mean(dim=0) / 2 for rows in _gate_gradients(name, kind)]
    assert_scores(score(name, "fisher", kind), expected)


@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "gpt_neox", "llama", "qwen2"])
def test_gate_gradient_is_that_of_an_explicit_head_mask(family: str) -> None:
    """The same thing by autograd, as Michel et al. define it: `a_h` times a mask variable."""
    subject = fresh(f"{family}-dense")
    masks = [torch.ones(len(heads), requires_grad=True) for heads in subject.heads]

    def masked(place: int, hidden: Tensor) -> Tensor:
        parts = hidden.split(subject.head_dim, dim=-1)
        return torch.cat([part * masks[place][h] for h, part in enumerate(parts)], dim=-1)

    for layer in range(3):
        subject.output(layer, "attention").register_forward_pre_hook(
            lambda _m, args, layer=layer: (masked(layer, args[0]),)
        )
    each = [torch.autograd.grad(nll(subject.model, *one), masks) for one in sequences()]
    expected = [torch.stack(layer).double().abs().mean(dim=0) for layer in zip(*each, strict=True)]
    assert_scores(score(f"{family}-dense", "gate_gradient"), expected)


@pytest.mark.parametrize("kind", ["head", "neuron"])
@pytest.mark.parametrize(
    "name", ["gpt2-dense", "opt-ragged", "bloom-dense", "gpt_neox-gutted", "mistral-ragged"]
)
@torch.no_grad()
def test_signed_taylor_predicts_what_a_little_less_of_a_unit_costs(name: str, kind: str) -> None:
    """Finite difference of the mean loss in the gate; no gradient is computed."""
    subject = fresh(name)
    subject.model.double()
    # norms and softmax of some families are float32 inside: rounding of 1e-7 over the step;
    # OPT is float64 throughout, and its ReLUs have kinks that a large step would cross
    step, tolerance = 1e-5 if subject.family == "opt" else 1e-2, 5e-5
    found = score(name, "taylor_signed", kind)
    for layer, count in enumerate(subject.counts(kind)):
        if not count:
            continue
        block = "attention" if kind == "head" else "ffn"
        weight = subject.output(layer, block).weight
        oriented = weight if subject.family != "gpt2" else weight.T
        for unit in {0, count // 2, count - 1}:
            columns = subject.columns(kind, unit)
            original = oriented[:, columns].clone()
            losses = []
            for gate in (1 - 2 * step, 1 - step, 1 + step, 1 + 2 * step):
                oriented[:, columns] = original * gate
                losses.append(float(sum(nll(subject.model, *one) for one in sequences())) / 5)
            oriented[:, columns] = original
            # five-point stencil: the third derivative drops out
            slope = (8 * (losses[1] - losses[2]) - (losses[0] - losses[3])) / (12 * step)
            assert float(found[layer][unit]) == pytest.approx(slope, abs=tolerance, rel=1e-4)


@every_subject
def test_the_four_scores_are_ordered_as_means_must_be(name: str) -> None:
    """Jensen: `|E g| <= E |g| <= sqrt(E g^2)`, with equality only for equal gradients."""
    scorers = ("taylor", "taylor_signed", "gate_gradient", "fisher")
    for kind in GATED:
        layers = zip(*[score(name, scorer, kind) for scorer in scorers], strict=True)
        for taylor, signed, michel, fisher in layers:
            assert torch.equal(taylor, signed.abs())
            # float64 sums of five numbers
            assert bool((taylor <= michel * (1 + 1e-12)).all())
            assert bool((michel <= (2 * fisher).sqrt() * (1 + 1e-12)).all())
    heads = [torch.cat(score(name, scorer)) for scorer in ("taylor", "gate_gradient")]
    assert bool((heads[0] < heads[1] * 0.999).any())
