"""KV groups and layers as units of their own: one gate, one mask, one norm for all of their parts.

The oracles know a group by the heads that `Subject.groups` lists, and never add scores of heads.
"""

import functools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sentinel_research.models import structure_of
from sentinel_research.pruning import ScoringInputs, make_plan, mask, plan_units
from sentinel_research.pruning.calibrate import collect
from sentinel_research.registry import get, names
from sentinel_research.specs import PruneSpec
from tests.pruning.conftest import assert_scores, score
from tests.pruning.subjects import (
    CALIBRATION,
    NUM_TOKENS,
    Subject,
    fresh,
    nll,
    readings,
    sequences,
    subject_of,
)

grouped = pytest.mark.parametrize("name", ["llama-dense", "llama-ragged", "mistral-gutted"])
SUMS_OF_GATES = {
    "gate_gradient": lambda rows: rows.abs().mean(dim=0),
    "taylor": lambda rows: rows.mean(dim=0).abs(),
    "taylor_signed": lambda rows: -rows.mean(dim=0),
    "fisher": lambda rows: rows.square().mean(dim=0) / 2,
}


def _gate_group(subject: Subject, layer: int, gates: Tensor) -> None:
    """Multiply what every head of a group hands on by one variable."""

    def gated(_module: object, args: tuple[Tensor]) -> tuple[Tensor]:
        parts = list(args[0].split(subject.head_dim, dim=-1))
        for group, members in enumerate(subject.groups(layer)):
            for member in members:
                parts[member] = parts[member] * gates[group]
        return (torch.cat(parts, dim=-1),)

    subject.output(layer, "attention").register_forward_pre_hook(gated)


def _gate_layer(subject: Subject, layer: int, gates: Tensor) -> None:
    """Multiply what both blocks of a layer write by one variable."""
    for block, present in (("attention", subject.has_attention), ("ffn", subject.has_ffn)):
        if present[layer]:
            subject.output(layer, block).register_forward_hook(lambda _m, _a, out: out * gates)


@functools.cache
def _gradients(name: str, kind: str) -> list[Tensor]:
    """`dL/dgate` of every sequence by autograd, per layer [sequences, units]."""
    subject = fresh(name)
    gates = [torch.ones(count, requires_grad=True) for count in subject.counts(kind)]
    for layer, gate in enumerate(gates):
        if len(gate):
            (_gate_group if kind == "kv_group" else _gate_layer)(subject, layer, gate)
    each = [
        torch.autograd.grad(nll(subject.model, *one), gates, allow_unused=True)
        for one in sequences()
    ]
    empty = torch.zeros(0)
    return [
        torch.stack([empty if g is None else g for g in layer]).double()
        for layer in zip(*each, strict=True)
    ]


@pytest.mark.parametrize("scorer", SUMS_OF_GATES)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, "kv_group") for name in ("llama-dense", "llama-ragged", "qwen2-gutted")],
        *[(name, "layer") for name in ("llama-dense", "gpt2-gutted", "opt-ragged", "bloom-gutted")],
    ],
)
def test_gate_scores_are_those_of_one_gate_for_the_whole_unit(
    name: str, kind: str, scorer: str
) -> None:
    expected = [SUMS_OF_GATES[scorer](rows) for rows in _gradients(name, kind)]
    # terms that cancel keep the rounding of the terms
    assert_scores(score(name, scorer, kind), expected, floor=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["kv_group", "layer"])
@grouped
def test_leave_one_out_is_what_the_loss_gains_under_the_mask_of_a_plan(
    name: str, kind: str
) -> None:
    subject = subject_of(name)
    structure = structure_of(subject.model.config)
    totals = collect(subject.model, CALIBRATION, [("ablation", kind)]).total()
    inputs = ScoringInputs(model=subject.model, kind=kind, totals=totals)
    found = get("scorers", "leave_one_out")(inputs)
    gone = {
        "attention": [i for i in range(3) if not subject.has_attention[i]],
        "ffn": [i for i in range(3) if not subject.has_ffn[i]],
    }

    def loss_without(layer: int | None, unit: int = 0) -> float:
        heads, neurons, without = subject.heads, subject.neurons, gone
        if layer is not None and kind == "kv_group":
            members = subject.groups(layer)[unit]
            left = [head for i, head in enumerate(heads[layer]) if i not in members]
            heads = [*heads[:layer], left, *heads[layer + 1 :]]
        elif layer is not None:
            heads, neurons = (
                [*parts[:layer], [], *parts[layer + 1 :]] for parts in (heads, neurons)
            )
            without = {block: sorted({*layers, layer}) for block, layers in gone.items()}
        plan = make_plan(structure, heads, neurons=neurons, without=without)
        masked = mask(subject.model, plan)
        return sum(float(nll(masked, *one)) for one in sequences()) / len(CALIBRATION)

    whole = loss_without(None)
    for layer, count in enumerate(subject.counts(kind)):
        for unit in range(count):
            # the difference of two float32 losses of size 7
            expected = loss_without(layer, unit) - whole
            assert float(found[layer][unit]) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(("scorer", "order"), [("magnitude_l1", 1), ("magnitude_l2", 2)])
@pytest.mark.parametrize("name", ["llama-ragged", "llama_biased-ragged", "qwen2-dense"])
def test_magnitude_of_a_group_is_the_norm_of_its_weights_with_keys_and_values_once(
    name: str, scorer: str, order: int
) -> None:
    subject, width = subject_of(name), subject_of(name).head_dim
    expected = []
    for layer in range(3):
        expected.append([])
        for group, members in enumerate(subject.groups(layer)):
            heads = [np.arange(member * width, (member + 1) * width) for member in members]
            query, own = np.concatenate(heads), np.arange(group * width, (group + 1) * width)
            output = subject.output(layer, "attention").weight.detach().double().numpy()
            parts = [output[:, query]]
            for module, rows in zip(
                subject.inputs(layer, "attention"), (query, own, own), strict=True
            ):
                parts += [p.detach().double().numpy()[rows] for p in module.parameters()]
            flat = np.concatenate([part.ravel() for part in parts])
            expected[-1].append(float(np.linalg.norm(flat, order)))
    assert_scores(score(name, scorer, "kv_group"), expected)


@grouped
def test_activation_norm_of_a_group_is_the_root_mean_square_over_all_of_its_heads(
    name: str,
) -> None:
    subject = subject_of(name)
    expected = []
    for layer in range(3):
        expected.append([])
        for members in subject.groups(layer):
            (reading,) = readings(subject.model, [subject.output(layer, "attention")])
            hidden = torch.cat([reading.read[:, subject.columns("head", m)] for m in members], 1)
            expected[-1].append(float(hidden.norm()) / NUM_TOKENS**0.5)
    assert_scores(score(name, "activation_norm", "kv_group"), expected)


@pytest.mark.parametrize("scorer", ["wanda", "flap"])
@grouped
def test_sums_over_output_weights_of_a_group_are_those_of_its_heads(name: str, scorer: str) -> None:
    heads = score(name, scorer)
    groups = [subject_of(name).groups(layer) for layer in range(3)]
    expected = [
        [float(own[members].sum()) for members in layer]
        for own, layer in zip(heads, groups, strict=True)
    ]
    assert_scores(score(name, scorer, "kv_group"), expected)


@pytest.mark.parametrize("scorer", ["entropy_low", "entropy_high"])
@grouped
def test_entropy_of_a_group_is_the_mean_over_its_heads(name: str, scorer: str) -> None:
    heads = score(name, scorer)
    groups = [subject_of(name).groups(layer) for layer in range(3)]
    expected = [
        [float(own[members].mean()) for members in layer]
        for own, layer in zip(heads, groups, strict=True)
    ]
    assert_scores(score(name, scorer, "kv_group"), expected)


@grouped
def test_redundancy_of_a_group_compares_what_groups_add_to_the_stream(name: str) -> None:
    subject = subject_of(name)
    expected = []
    for layer in range(3):
        outputs = []
        for members in subject.groups(layer):
            module = subject.output(layer, "attention")
            (reading,) = readings(subject.model, [module])
            columns = torch.cat([torch.arange(200)[subject.columns("head", m)] for m in members])
            weight = subject.matrix(module)[:, columns]
            outputs.append((reading.read[:, columns] @ weight.T).flatten())
        expected.append([])
        for place, own in enumerate(outputs):
            others = [other for i, other in enumerate(outputs) if i != place]
            alike = [abs(float(F.cosine_similarity(own, other, dim=0))) for other in others]
            expected[-1].append(1 - max(alike, default=0.0))
    assert_scores(score(name, "redundancy", "kv_group"), expected)


@pytest.mark.parametrize(
    "scorer",
    [
        name
        for name in names("scorers")
        if "kv_group" in get("scorers", name).units and name not in ("random", "leave_one_out")
    ],
)
def test_group_of_one_head_scores_what_the_head_scores(scorer: str) -> None:
    assert_scores(score("gpt2-dense", scorer, "kv_group"), score("gpt2-dense", scorer), floor=1e-7)


def test_random_groups_go_equally_often_whatever_their_size() -> None:
    model = subject_of("llama-ragged").model
    counts = {(layer, g): 0 for layer in (0, 2) for g in range(len(_sizes(layer)))}
    num_seeds = 300
    for seed in range(num_seeds):
        spec = PruneSpec(scorer="random", fraction=0.5, granularity="kv_group", seed=seed)
        kept = plan_units(model, spec).plan.kept
        for layer, group in counts:
            first = subject_of("llama-ragged").groups(layer)[group][0]
            head = subject_of("llama-ragged").heads[layer][first]
            counts[layer, group] += head not in kept[layer].heads
    for layer in (0, 2):
        num_gone = sum(counts[layer, group] for group in range(len(_sizes(layer)))) / num_seeds
        share = num_gone / len(_sizes(layer))
        # four standard errors of a binomial share
        bound = 4 * (share * (1 - share) / num_seeds) ** 0.5
        for group in range(len(_sizes(layer))):
            assert abs(counts[layer, group] / num_seeds - share) < bound
    # otherwise this would show nothing
    assert len(set(_sizes(0))) > 1


def _sizes(layer: int) -> list[int]:
    return [len(members) for members in subject_of("llama-ragged").groups(layer)]
