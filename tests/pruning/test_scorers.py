"""Scorers against slow, independent forms of the same formula."""

import math

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models import anatomy_of, heads_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import ScoringInputs, make_plan, remove
from sentinel_research.pruning.scorers import entropy as entropy_module
from sentinel_research.registry import get

CALIBRATED = ["entropy", "taylor", "leave_one_out"]
FAMILIES = ["gpt2", "llama"]
RAGGED = {"gpt2": [[0, 2, 4], [], [1, 3]], "llama": [[0, 1, 2, 7], [], [3, 4, 5]]}


@pytest.fixture(params=FAMILIES)
def dense(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


@pytest.fixture(params=["dense", "ragged"])
def model(request: pytest.FixtureRequest, dense: PreTrainedModel) -> PreTrainedModel:
    if request.param == "dense":
        return dense
    kept = RAGGED[dense.config.model_type]
    return remove(dense, make_plan(heads_of(dense.config), kept))


@pytest.fixture
def sequences() -> Tensor:
    return torch.randint(256, (5, 9), generator=torch.Generator().manual_seed(1))


def _score(name: str, model: PreTrainedModel, sequences: Tensor, batch_size: int) -> list[Tensor]:
    return get("scorers", name)(
        ScoringInputs(model=model, sequences=sequences, batch_size=batch_size)
    )


def _nll(model: PreTrainedModel, ids: Tensor) -> Tensor:
    log_probabilities = model(ids[None]).logits[0, :-1].log_softmax(dim=-1)
    return -log_probabilities.gather(1, ids[1:, None]).mean()


@pytest.mark.parametrize("name", ["random", "magnitude", *CALIBRATED])
def test_scores_are_float64_one_per_head_and_deterministic(
    name: str, model: PreTrainedModel, sequences: Tensor
) -> None:
    scores = _score(name, model, sequences, 2)
    assert [len(layer) for layer in scores] == list(heads_of(model.config).num_heads_per_layer)
    assert {layer.dtype for layer in scores} == {torch.float64}
    again = _score(name, model, sequences, 2)
    assert all(torch.equal(a, b) for a, b in zip(scores, again, strict=True))


@pytest.mark.parametrize("name", CALIBRATED)
def test_score_does_not_depend_on_batch_size_or_order(
    name: str, model: PreTrainedModel, sequences: Tensor
) -> None:
    reference = _score(name, model, sequences, 5)
    for other in (_score(name, model, sequences, 1), _score(name, model, sequences.flip(0), 2)):
        for a, b in zip(reference, other, strict=True):
            # float32 forward passes of another batch shape
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", CALIBRATED)
def test_scoring_leaves_the_model_as_it_was(
    name: str, model: PreTrainedModel, sequences: Tensor
) -> None:
    attention = model.config._attn_implementation
    model.train()
    next(model.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    _score(name, model, sequences, 2)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert model.config._attn_implementation == attention
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    for attention_module in anatomy_of(model.config).attentions(model):
        assert not attention_module._forward_hooks
    for projection in anatomy_of(model.config).output_projections(model):
        assert not projection._forward_pre_hooks


def test_random_never_reads_the_weights(dense: PreTrainedModel, sequences: Tensor) -> None:
    before = _score("random", dense, sequences, 2)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.fill_(torch.nan)
    after = _score("random", dense, sequences, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_magnitude_is_the_norm_of_the_heads_own_weights(dense: PreTrainedModel) -> None:
    heads = heads_of(dense.config)
    width, layer = heads.head_dim, 1
    scores = get("scorers", "magnitude")(ScoringInputs(model=dense))[layer]
    attention = anatomy_of(dense.config).attentions(dense)[layer]
    for head in range(heads.num_heads):
        own = slice(head * width, (head + 1) * width)
        if heads.family == "gpt2":
            blocks = attention.c_attn.weight.chunk(3, dim=1)
            biases = attention.c_attn.bias.chunk(3)
            parts = [block[:, own] for block in blocks] + [bias[own] for bias in biases]
            parts.append(attention.c_proj.weight[own])
        else:
            group = head // heads.group_size
            shared = slice(group * width, (group + 1) * width)
            parts = [attention.q_proj.weight[own], attention.o_proj.weight[:, own]]
            parts += [attention.k_proj.weight[shared], attention.v_proj.weight[shared]]
        expected = torch.cat([part.flatten() for part in parts]).double().norm()
        torch.testing.assert_close(scores[head], expected.detach())


@torch.no_grad()
def test_entropy_is_the_mean_row_entropy_by_hand(dense: PreTrainedModel, sequences: Tensor) -> None:
    scores = _score("entropy", dense, sequences, 2)
    dense.set_attn_implementation("eager")
    attentions = dense(sequences, output_attentions=True).attentions
    for layer_scores, probabilities in zip(scores, attentions, strict=True):
        for head, score in enumerate(layer_scores):
            shares = []
            for sequence in probabilities[:, head]:
                for t in range(1, sequence.shape[0]):
                    row = [float(p) for p in sequence[t] if p > 0]
                    shares.append(-sum(p * math.log(p) for p in row) / math.log(t + 1))
            assert score == pytest.approx(1 - sum(shares) / len(shares), abs=1e-6)


def test_entropy_is_one_for_uniform_and_zero_for_one_hot_attention() -> None:
    uniform = torch.ones(6, 6).tril()
    uniform = uniform / uniform.sum(dim=-1, keepdim=True)
    both = torch.stack([uniform, torch.eye(6)])[None]
    found = entropy_module.normalised_entropy(both)[0]
    assert found.tolist() == pytest.approx([1.0, 0.0], abs=1e-7)


def test_entropy_refuses_attention_that_shows_no_probabilities(
    dense: PreTrainedModel, sequences: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    monkeypatch.setattr(entropy_module, "eager_attention", lambda _: contextlib.nullcontext())
    with pytest.raises(CheckFailedError, match="no probabilities"):
        _score("entropy", dense, sequences, 2)


def test_taylor_is_the_signed_sum_of_weight_times_gradient(
    model: PreTrainedModel, sequences: Tensor
) -> None:
    """The gate's gradient computed through the weights instead of through gates."""
    heads, row = heads_of(model.config), anatomy_of(model.config)
    totals = [torch.zeros(count, dtype=torch.float64) for count in heads.num_heads_per_layer]
    for ids in sequences:
        model.zero_grad()
        _nll(model, ids).backward()
        for layer, projection in enumerate(row.output_projections(model)):
            if heads.kept[layer]:
                product = (projection.weight * projection.weight.grad).double()
                per_row = product.sum(dim=row.input_axis)
                totals[layer] += per_row.unflatten(0, (-1, heads.head_dim)).sum(dim=1).abs()
    for found, total in zip(_score("taylor", model, sequences, 2), totals, strict=True):
        torch.testing.assert_close(found, total / len(sequences), rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_leave_one_out_is_the_loss_with_the_heads_output_weights_at_zero(
    model: PreTrainedModel, sequences: Tensor
) -> None:
    heads, row = heads_of(model.config), anatomy_of(model.config)
    scores = _score("leave_one_out", model, sequences, 2)
    dense = sum(float(_nll(model, ids)) for ids in sequences) / len(sequences)
    for layer, projection in enumerate(row.output_projections(model)):
        for head in range(len(heads.kept[layer])):
            kept = projection.weight.clone()
            projection.weight.index_fill_(row.output_axis, heads.columns([head]), 0.0)
            without = sum(float(_nll(model, ids)) for ids in sequences) / len(sequences)
            projection.weight.copy_(kept)
            assert float(scores[layer][head]) == pytest.approx(without - dense, abs=2e-5)


@pytest.mark.parametrize("name", ["magnitude", *CALIBRATED])
def test_scores_follow_heads_that_change_places(name: str, sequences: Tensor) -> None:
    model = tiny_model("gpt2")
    before = _score(name, model, sequences, 5)
    order, row, heads = [3, 0, 4, 1, 2], anatomy_of(model.config), heads_of(model.config)
    with torch.no_grad():
        for layer, attention in enumerate(row.attentions(model)):
            rows = heads.rows(layer, row.inputs[0], order, order)
            attention.c_attn.weight.copy_(attention.c_attn.weight[:, rows])
            attention.c_attn.bias.copy_(attention.c_attn.bias[rows])
            attention.c_proj.weight.copy_(attention.c_proj.weight[heads.columns(order)])
    for a, b in zip(before, _score(name, model, sequences, 5), strict=True):
        torch.testing.assert_close(a[order], b, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_scorer_without_text_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="needs calibration text"):
        get("scorers", name)(ScoringInputs(model=tiny_model("gpt2")))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 1, dtype=torch.long), "2 sequences of 1 tokens"),
        (torch.zeros(0, 4, dtype=torch.long), "0 sequences"),
        (torch.zeros(2, 65, dtype=torch.long), "65 tokens"),
        (torch.full((2, 4), 259), "vocabulary has 259"),
        (torch.full((2, 4), -1), "run from -1"),
    ],
    ids=["one_token", "none", "longer_than_context", "vocabulary", "negative"],
)
def test_unsuitable_calibration_is_refused(bad: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScoringInputs(model=tiny_model("gpt2"), sequences=bad)
