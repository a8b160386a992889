"""Entropy against explicit loops over attention rows, redundancy against explicit head outputs."""

import contextlib
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import ScoringInputs, calibrate, make_plan, remove
from sentinel_research.pruning.calibrate import collect
from sentinel_research.pruning.meters.attention import normalised_entropy
from sentinel_research.registry import get
from tests.pruning.conftest import (
    assert_scores,
    score,
    statistics_of,
)
from tests.pruning.subjects import (
    CALIBRATION,
    Subject,
    every_subject,
    fresh,
    readings,
    sequences,
    subject_of,
)

# tiny Mistral slides in all layers, tiny Qwen2 in the last one
WINDOWS = {"mistral": [5, 5, 5], "qwen2": [99, 99, 5]}


def _entropy_of_rows(probabilities: Tensor, window: int) -> float:
    """Mean of `H / ln(visible keys)` over rows 1, 2, ... of one head; row 0 has no choice."""
    shares = []
    for t in range(1, len(probabilities)):
        row = [float(p) for p in probabilities[t, : t + 1] if p > 0]
        shares.append(-sum(p * math.log(p) for p in row) / math.log(min(t + 1, window)))
    return sum(shares) / len(shares)


@torch.no_grad()
def _slow_entropy(name: str) -> list[list[float]]:
    """Mean over unpadded sequences, from the attentions that transformers hands out."""
    subject = fresh(name)
    subject.model.set_attn_implementation("eager")
    sums = [[0.0] * count for count in subject.counts("head")]
    # layers without heads hand out nothing, or None in BLOOM
    windows = WINDOWS.get(subject.family, [99] * 3)
    layers = [pair for pair in zip(sums, windows, strict=True) if pair[0]]
    for ids, _ in sequences():
        attentions = subject.model(ids, output_attentions=True, use_cache=False).attentions
        shown = [probabilities for probabilities in attentions if probabilities is not None]
        for (layer, window), probabilities in zip(layers, shown, strict=True):
            for head in range(len(layer)):
                layer[head] += _entropy_of_rows(probabilities[0, head], window) / len(CALIBRATION)
    return sums


@every_subject
def test_entropy_is_the_mean_share_of_the_largest_entropy_each_row_could_have(name: str) -> None:
    expected = _slow_entropy(name)
    assert_scores(score(name, "entropy_high"), expected)
    assert_scores(score(name, "entropy_low"), [[1 - x for x in layer] for layer in expected])


@every_subject
def test_entropy_of_real_attention_lies_strictly_between_its_bounds(name: str) -> None:
    found = torch.cat(score(name, "entropy_high"))
    assert bool(((found > 0.01) & (found < 0.999)).all())


@torch.no_grad()
@pytest.mark.parametrize("length", [4, 5, 6, 29])
@pytest.mark.parametrize("family", ["mistral", "qwen2", "llama"])
def test_uniform_heads_attain_one_whatever_the_window_of_their_layer(
    family: str, length: int
) -> None:
    model = tiny_model(family)
    for module in model.get_submodule("model.layers").children():
        for parameter in module.self_attn.q_proj.parameters():
            parameter.zero_()
    ids = torch.randint(256, (3, length), generator=torch.Generator().manual_seed(2))
    needs = [("attention_entropy", "head")]
    inputs = ScoringInputs(
        model=model, totals=collect(model, CalibrationSet.of(ids), needs).total()
    )
    found = torch.cat(get("scorers", "entropy_high")(inputs))
    # logarithms in float32
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-6)


def test_window_of_one_key_is_refused_where_there_are_heads() -> None:
    model = tiny_model("qwen2", sliding_window=1)
    needs = [("attention_entropy", "head")]
    with pytest.raises(UsageError, match="layer 2 has a window of 1: it has no entropy"):
        collect(model, CALIBRATION, needs)
    kept = [range(8), range(8), []]
    assert collect(remove(model, make_plan(structure_of(model.config), kept)), CALIBRATION, needs)


def _row_probabilities(kind: str, length: int) -> Tensor:
    if kind == "one_hot":
        return torch.eye(length)
    uniform = torch.ones(length, length).tril()
    return uniform / uniform.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize("length", [2, 3, 7, 63])
@pytest.mark.parametrize(("kind", "entropy"), [("uniform", 1.0), ("one_hot", 0.0)])
def test_uniform_attention_attains_one_and_one_hot_attention_zero(
    kind: str, entropy: float, length: int
) -> None:
    probabilities = _row_probabilities(kind, length)[None, None]
    found = normalised_entropy(probabilities, torch.ones(1, length, dtype=torch.bool))
    # logarithms in float32
    assert float(found) == pytest.approx(entropy, abs=1e-6)


def test_entropy_of_padding_rows_does_not_count() -> None:
    both = torch.stack([_row_probabilities("uniform", 7), _row_probabilities("one_hot", 7)])
    mixed = torch.cat([both[0, :4], both[1, 4:]])[None, None]
    is_text = torch.tensor([[True] * 4 + [False] * 3])
    assert float(normalised_entropy(mixed, is_text)) == pytest.approx(1.0, abs=1e-6)


def test_entropy_of_half_precision_attention_is_summed_in_single() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 63, 63, generator=generator)
    hidden = torch.ones(63, 63, dtype=torch.bool).triu(1)
    half = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).bfloat16()
    is_text = torch.ones(2, 63, dtype=torch.bool)
    wide = normalised_entropy(half.double(), is_text)
    # sums in bfloat16 would be off by 1e-3
    torch.testing.assert_close(normalised_entropy(half, is_text), wide, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2-dense", "llama-ragged", "opt-gutted"])
def test_entropy_refuses_attention_that_shows_no_probabilities(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = subject_of(name).model
    assert "sdpa" in model.config._attn_implementation
    monkeypatch.setattr(calibrate, "eager_attention", lambda _: contextlib.nullcontext())
    with pytest.raises(CheckFailedError, match="no probabilities"):
        collect(model, CALIBRATION, [("attention_entropy", "head")])


def _outputs(subject: Subject, layer: int) -> list[Tensor]:
    """What each head adds to the residual stream, `a_h W_h`, at all positions, flattened."""
    module = subject.output(layer, "attention")
    (reading,) = readings(subject.model, [module])
    weight = subject.matrix(module)
    heads = range(subject.counts("head")[layer])
    own = [subject.columns("head", head) for head in heads]
    return [(reading.read[:, columns] @ weight[:, columns].T).flatten() for columns in own]


@every_subject
def test_redundancy_is_the_distance_to_the_most_similar_head_of_the_layer(name: str) -> None:
    subject = subject_of(name)
    expected: list[list[float]] = []
    for layer, count in enumerate(subject.counts("head")):
        expected.append([])
        outputs = _outputs(subject, layer) if count else []
        for head, own in enumerate(outputs):
            others = [other for place, other in enumerate(outputs) if place != head]
            alike = [abs(float(F.cosine_similarity(own, other, dim=0))) for other in others]
            expected[-1].append(1 - max(alike, default=0.0))
    assert_scores(score(name, "redundancy"), expected)


@every_subject
def test_head_outputs_with_the_output_bias_are_what_attention_writes(name: str) -> None:
    """The Gram matrix that redundancy reads is that of summands of the block's output."""
    subject = subject_of(name)
    grams = statistics_of(name).total().layers("head_gram", "head")
    for layer, count in enumerate(subject.counts("head")):
        if not count:
            continue
        module = subject.output(layer, "attention")
        (reading,) = readings(subject.model, [module])
        bias = module.bias.detach() if module.bias is not None else 0.0
        summed = torch.stack(_outputs(subject, layer)).sum(dim=0).view_as(reading.wrote)
        torch.testing.assert_close(summed + bias, reading.wrote, rtol=1e-5, atol=1e-5)
        # the square of a sum is the sum of all products
        total = float(summed.square().sum())
        assert float(grams[layer].sum()) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(("factor", "case"), [(1.0, "copy"), (-3.0, "opposite")])
@torch.no_grad()
def test_head_that_repeats_another_one_is_redundant_whatever_its_size(
    factor: float, case: str
) -> None:
    subject = fresh("gpt2-dense")
    attention, output = subject.inputs(1, "attention")[0], subject.output(1, "attention")
    rows = attention.weight.view(-1, 3, 5, 6)
    rows[:, :, 4] = rows[:, :, 2]
    attention.bias.view(3, 5, 6)[:, 4] = attention.bias.view(3, 5, 6)[:, 2]
    output.weight[24:30] = factor * output.weight[12:18]
    found = _redundancy(subject)[1]
    # 1 - cos of equal vectors, float32
    assert found[[2, 4]].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert float(found[[0, 1, 3]].min()) > 0.05


@torch.no_grad()
def test_silent_head_is_redundant_and_hides_no_other() -> None:
    subject = fresh("gpt2-dense")
    before = score("gpt2-dense", "redundancy")[0]
    subject.output(0, "attention").weight[6:12] = 0.0
    found = _redundancy(subject)[0]
    assert float(found[1]) == 0.0
    assert bool((found[[0, 2, 3, 4]] >= before[[0, 2, 3, 4]] - 1e-6).all())


def test_head_without_another_one_beside_it_is_not_redundant() -> None:
    assert score("gpt2-gutted", "redundancy")[1].tolist() == [1.0]


def _redundancy(subject: Subject) -> list[Tensor]:
    totals = collect(subject.model, CALIBRATION, [("head_gram", "head")]).total()
    found: list[Tensor] = get("scorers", "redundancy")(
        ScoringInputs(model=subject.model, totals=totals)
    )
    return found
