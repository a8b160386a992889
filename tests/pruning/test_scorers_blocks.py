"""What blocks do to the residual stream, and what the loss gains without a unit."""

import functools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from sentinel_research.models import structure_of
from sentinel_research.pruning import ScoringInputs, make_plan, mask
from sentinel_research.pruning.calibrate import collect
from sentinel_research.registry import get
from tests.pruning.conftest import (
    assert_scores,
    score,
)
from tests.pruning.subjects import (
    CALIBRATION,
    KINDS,
    NAMES,
    Subject,
    every_subject,
    fresh,
    nll,
    readings,
    sequences,
    subject_of,
)


@functools.cache
def _streams(name: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The residual stream before a layer, between its blocks and after it, [tokens, hidden]."""
    subject = subject_of(name)
    layers = [subject.layer(index) for index in range(3)]
    norms = [layer.get_submodule(NAMES[subject.family].ffn_norm) for layer in layers]
    outputs = [subject.output(index, "attention") for index in range(3)]
    seen = readings(subject.model, [*layers, *norms, *outputs])
    parallel = getattr(subject.model.config, "use_parallel_residual", False)
    found = []
    for layer, norm, output in zip(seen[:3], seen[3:6], seen[6:], strict=True):
        # both blocks of a parallel layer read the layer's input, nothing reads the middle
        middle = layer.read + output.wrote if parallel else norm.read
        found.append((layer.read, middle, layer.wrote))
    return found


@pytest.mark.parametrize("kind", ["attention", "ffn", "layer"])
@every_subject
def test_layer_influence_is_one_minus_the_mean_cosine_of_the_stream(name: str, kind: str) -> None:
    subject = subject_of(name)
    ends = {"attention": (0, 1), "ffn": (1, 2), "layer": (0, 2)}[kind]
    expected = []
    for count, stream in zip(subject.counts(kind), _streams(name), strict=True):
        before, after = (stream[end] for end in ends)
        pairs = zip(before, after, strict=True)
        cosines = [float(F.cosine_similarity(a, b, dim=0)) for a, b in pairs]
        expected.append([1 - sum(cosines) / len(cosines)] * count)
    # a cosine near 1 keeps seven digits in float32
    assert_scores(score(name, "layer_influence", kind), expected, floor=1e-7)


@torch.no_grad()
@every_subject
def test_layers_influence_follows_from_transformers_hidden_states(name: str) -> None:
    subject = subject_of(name)
    states = [
        subject.model(ids, output_hidden_states=True, use_cache=False).hidden_states
        for ids, _ in sequences()
    ]
    found = score(name, "layer_influence", "layer")
    # the last hidden state has passed the final norm, so the last layer cannot be read off
    for layer in range(2):
        pairs = [(s[layer][0].double(), s[layer + 1][0].double()) for s in states]
        cosines = torch.cat([F.cosine_similarity(a, b, dim=-1) for a, b in pairs])
        assert float(found[layer]) == pytest.approx(1 - float(cosines.mean()), abs=1e-5)


@every_subject
def test_layer_adds_what_its_two_output_projections_write(name: str) -> None:
    """The residual algebra behind the scores: `y = x + a + f` in every family."""
    subject = subject_of(name)
    modules = [subject.output(index, block) for block in ("attention", "ffn") for index in range(3)]
    wrote = [reading.wrote for reading in readings(subject.model, modules)]
    for layer, (before, middle, after) in enumerate(_streams(name)):
        torch.testing.assert_close(before + wrote[layer], middle, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(middle + wrote[3 + layer], after, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_layer_that_adds_nothing_has_no_influence() -> None:
    subject = fresh("gpt2-dense")
    for block in ("attention", "ffn"):
        for parameter in subject.output(1, block).parameters():
            parameter.zero_()
    needs = [("similarity", "layer")]
    inputs = ScoringInputs(
        model=subject.model, kind="layer", totals=collect(subject.model, CALIBRATION, needs).total()
    )
    found = get("scorers", "layer_influence")(inputs)
    assert float(found[1]) == pytest.approx(0.0, abs=1e-7)
    assert float(found[0]) > 1e-3


# family: what puts norms into the stream
POST_NORM = {
    "opt": {"do_layer_norm_before": False},
    "bloom": {"apply_residual_connection_post_layernorm": True},
}


def _post_norm_stream(subject: Subject) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Per layer and kind the stream before and after, as modules beside the blocks see it."""
    names = {"opt": ("self_attn_layer_norm", "final_layer_norm"),
             "bloom": ("input_layernorm", "post_attention_layernorm")}[subject.family]  # fmt: skip
    layers = [subject.layer(index) for index in range(3)]
    norms = [layer.get_submodule(name) for layer in layers for name in names]
    seen = readings(subject.model, [*layers, *norms])
    found = []
    for index, layer in enumerate(seen[:3]):
        first, second = seen[3 + 2 * index : 5 + 2 * index]
        if subject.family == "opt":
            # a norm follows each sum
            blocks = {"attention": (layer.read, first.read), "ffn": (first.wrote, second.read)}
        else:
            # a norm comes before each sum
            blocks = {"attention": (first.wrote, second.read), "ffn": (second.wrote, layer.wrote)}
        found.append({**blocks, "layer": (layer.read, layer.wrote)})
    return found


@pytest.mark.parametrize("kind", ["attention", "ffn", "layer"])
@pytest.mark.parametrize("form", ["dense", "ragged", "gutted"])
@pytest.mark.parametrize("family", POST_NORM)
def test_stream_that_runs_through_norms_is_compared_where_blocks_add_to_it(
    family: str, form: str, kind: str
) -> None:
    subject = fresh(f"{family}-{form}", **POST_NORM[family])
    totals = collect(subject.model, CALIBRATION, [("similarity", kind)], batch_size=2).total()
    found = get("scorers", "layer_influence")(
        ScoringInputs(model=subject.model, kind=kind, totals=totals)
    )
    expected = []
    for count, stream in zip(subject.counts(kind), _post_norm_stream(subject), strict=True):
        before, after = stream[kind]
        turned = 1 - F.cosine_similarity(before, after, dim=1).mean()
        expected.append([float(turned)] * count)
    # a cosine near 1 keeps seven digits in float32
    assert_scores(found, expected, floor=1e-7)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["attention", "ffn"])
@pytest.mark.parametrize("family", POST_NORM)
def test_block_that_adds_nothing_has_no_influence_though_a_norm_follows(
    family: str, kind: str
) -> None:
    subject = fresh(f"{family}-dense", **POST_NORM[family])
    for parameter in subject.output(1, kind).parameters():
        parameter.zero_()
    totals = collect(subject.model, CALIBRATION, [("similarity", kind)]).total()
    found = get("scorers", "layer_influence")(
        ScoringInputs(model=subject.model, kind=kind, totals=totals)
    )
    assert float(found[1]) == pytest.approx(0.0, abs=1e-7)
    assert float(found[0]) > 1e-3


@torch.no_grad()
def _loss(model: PreTrainedModel) -> float:
    return sum(float(nll(model, *one)) for one in sequences()) / len(CALIBRATION)


@torch.no_grad()
def _loss_without(subject: Subject, layer: int, kind: str, unit: int) -> float:
    """The mean loss with the unit's output weights at zero, and a block's bias too."""
    blocks = {"head": ["attention"], "kv_group": ["attention"], "neuron": ["ffn"],
              "layer": ["attention", "ffn"]}  # fmt: skip
    parameters = []
    for block in blocks.get(kind, [kind]):
        module = subject.output(layer, block)
        if kind in ("head", "kv_group", "neuron"):
            stored = module.weight if subject.family != "gpt2" else module.weight.T
            members = subject.groups(layer)[unit] if kind == "kv_group" else [unit]
            part = "neuron" if kind == "neuron" else "head"
            parameters += [stored[:, subject.columns(part, member)] for member in members]
        else:
            parameters += list(module.parameters())
    kept = [parameter.clone() for parameter in parameters]
    for parameter in parameters:
        parameter.zero_()
    without = _loss(subject.model)
    for parameter, value in zip(parameters, kept, strict=True):
        parameter.copy_(value)
    return without


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["gpt2-gutted", "opt-ragged", "bloom-gutted", "gpt_neox-gutted", "llama-ragged",
     "mistral-gutted", "qwen2-gutted"],
)  # fmt: skip
def test_leave_one_out_is_what_the_loss_gains_with_output_weights_at_zero(
    name: str, kind: str
) -> None:
    subject = fresh(name)
    needs = [("ablation", kind)]
    totals = collect(subject.model, CALIBRATION, needs).total()
    found = get("scorers", "leave_one_out")(
        ScoringInputs(model=subject.model, kind=kind, totals=totals)
    )
    dense = _loss(subject.model)
    assert [len(layer) for layer in found] == subject.counts(kind)
    for layer, count in enumerate(subject.counts(kind)):
        for unit in {count // 2, count - 1} if count else ():
            gained = _loss_without(subject, layer, kind, unit) - dense
            # the difference of two float32 losses of size 7
            assert float(found[layer][unit]) == pytest.approx(gained, abs=5e-6)


@pytest.mark.parametrize("name", ["gpt2-dense", "llama-ragged"])
def test_leave_one_out_is_what_the_loss_gains_under_a_mask(name: str) -> None:
    subject = subject_of(name)
    structure = structure_of(subject.model.config)
    totals = collect(subject.model, CALIBRATION, [("ablation", "head")]).total()
    found = get("scorers", "leave_one_out")(ScoringInputs(model=subject.model, totals=totals))
    dense = _loss(subject.model)
    for layer, heads in enumerate(subject.heads):
        for local, head in enumerate(heads):
            kept = [list(other) for other in subject.heads]
            kept[layer].remove(head)
            gained = _loss(mask(subject.model, make_plan(structure, kept))) - dense
            assert float(found[layer][local]) == pytest.approx(gained, abs=5e-6)
