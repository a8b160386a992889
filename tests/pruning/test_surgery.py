"""Masks and removal: what carries over, what is refused, and the self-check."""

import copy

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models import anatomy_of, heads_of
from sentinel_research.models.heads import Heads
from sentinel_research.models.pruned import PrunedGPT2LMHeadModel, PrunedLlamaForCausalLM
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning import gate_heads, make_plan, mask, remove
from sentinel_research.pruning.surgery import probe_inputs

PATTERNS = {
    "one": lambda n: [range(1, n), range(n), range(n)],
    "half": lambda n: [range(0, n, 2)] * 3,
    "ragged": lambda n: [range(n), [0, 1, n - 1], [1, 2, 3]],
    "single": lambda n: [[n - 1], [0], [1]],
    "layer0_empty": lambda n: [[], range(n), [0]],
    "layer1_empty": lambda n: [range(n), [], [0, 1]],
    "all_empty": lambda n: [[], [], []],
}


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


def _plan(model: PreTrainedModel, pattern: str = "ragged") -> object:
    heads = heads_of(model.config)
    return make_plan(heads, [list(kept) for kept in PATTERNS[pattern](heads.num_heads)])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("pattern", PATTERNS)
@torch.no_grad()
def test_mask_equals_removal_for_every_pattern(
    model: PreTrainedModel, pattern: str, attention: str
) -> None:
    model.set_attn_implementation(attention)
    plan = _plan(model, pattern)
    pruned, masked = remove(model, plan), mask(model, plan)
    ids = torch.randint(256, (2, 8), generator=torch.Generator().manual_seed(3))
    padded = torch.tensor([[1] * 8, [0] * 3 + [1] * 5])
    for attention_mask in (torch.ones_like(padded), padded):
        a, b = (m(ids, attention_mask=attention_mask).logits for m in (pruned, masked))
        visible = attention_mask.bool()
        assert float((a - b)[visible].abs().max()) <= 1e-5 * float(b[visible].abs().max())


@pytest.mark.parametrize("apply", [mask, remove], ids=["mask", "remove"])
def test_original_model_is_untouched(model: PreTrainedModel, apply: object) -> None:
    twin = copy.deepcopy(model)
    changed = apply(model, _plan(model))
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.zero_()
    inputs = probe_inputs(model)
    assert torch.equal(model(**inputs).logits, twin(**inputs).logits)
    assert type(model) is type(twin)
    assert model.config.to_dict() == twin.config.to_dict()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_removal_keeps_the_type(model: PreTrainedModel, dtype: torch.dtype) -> None:
    model.to(dtype)
    pruned = remove(model, _plan(model, "layer1_empty"))
    assert {p.dtype for p in pruned.parameters()} == {dtype}
    buffers = dict(model.named_buffers())
    assert all(b.dtype == buffers[name].dtype for name, b in pruned.named_buffers())


@pytest.mark.parametrize("tied", [True, False])
def test_removal_keeps_embeddings_tied_or_untied(tied: bool) -> None:
    model = tiny_model("llama", tie_word_embeddings=tied)
    pruned = remove(model, _plan(model))
    same = pruned.get_input_embeddings().weight is pruned.get_output_embeddings().weight
    assert same == tied


def test_removal_keeps_training_flags_and_frozen_parameters(model: PreTrainedModel) -> None:
    model.train()
    model.get_input_embeddings().weight.requires_grad_(False)
    pruned = remove(model, _plan(model))
    assert all(module.training for module in pruned.modules())
    assert not pruned.get_input_embeddings().weight.requires_grad
    assert sum(not p.requires_grad for p in pruned.parameters()) == 1
    assert all(module.training for module in model.modules())


def test_removal_draws_no_random_numbers(model: PreTrainedModel) -> None:
    before = torch.random.get_rng_state()
    remove(model, _plan(model))
    mask(model, _plan(model))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_equal_groups_stay_plain_grouped_query_attention() -> None:
    model = tiny_model("llama")
    pruned = remove(model, make_plan(heads_of(model.config), [[0, 2], [4, 5, 6, 7], [1]]))
    assert pruned.config._attn_implementation == "sdpa"
    groups = [a.num_key_value_groups for a in anatomy_of(model.config).attentions(pruned)]
    assert groups == [1, 2, 1]
    assert remove(model, _plan(model)).config._attn_implementation == "ragged_sdpa"


def test_implementation_that_cannot_do_unequal_groups_is_refused() -> None:
    model = tiny_model("llama")
    pruned = remove(model, _plan(model))
    with pytest.raises(UsageError, match="unequal groups"):
        pruned.set_attn_implementation("flex_attention")


def test_emptied_layer_keeps_the_dropout_of_the_bias() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5)
    pruned = remove(model, _plan(model, "layer0_empty"))
    attention = anatomy_of(model.config).attentions(pruned)[0].train()
    hidden = torch.zeros(1, 50, 30)
    torch.manual_seed(0)
    dropped = attention(hidden)[0]
    assert 0.3 < float((dropped == 0).float().mean()) < 0.7
    assert torch.allclose(attention.eval()(hidden)[0], attention.c_proj.bias.expand(1, 50, 30))


def test_plan_for_another_model_is_refused_by_both_forms() -> None:
    plan = _plan(tiny_model("gpt2"))
    for apply in (mask, remove):
        with pytest.raises(UsageError, match="does not fit a llama model"):
            apply(tiny_model("llama"), plan)


def test_masked_model_cannot_be_pruned_further(model: PreTrainedModel) -> None:
    with pytest.raises(UsageError, match="masked model cannot be pruned"):
        remove(mask(model, _plan(model)), _plan(model, "single"))


def test_self_check_refuses_wrong_surgery(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Heads.rows
    monkeypatch.setattr(Heads, "rows", lambda *args: rows(*args).flip(0))
    with pytest.raises(CheckpointError, match="differs from the masked one"):
        remove(model, _plan(model))


def test_masked_copy_of_a_copy_stays_masked(model: PreTrainedModel) -> None:
    masked = mask(model, _plan(model, "single"))
    inputs = probe_inputs(model)
    assert torch.equal(copy.deepcopy(masked)(**inputs).logits, masked(**inputs).logits)


def test_gates_act_per_sequence_and_come_off(model: PreTrainedModel) -> None:
    heads = heads_of(model.config)
    inputs = probe_inputs(model)
    dense = model(**inputs).logits
    gates = [torch.ones(2, count) for count in heads.num_heads_per_layer]
    gates[1][1, 0] = 0.0
    with gate_heads(model, gates):
        gated = model(**inputs).logits
    assert torch.equal(gated[0], dense[0])
    assert not torch.allclose(gated[1], dense[1])
    assert torch.equal(model(**inputs).logits, dense)


def test_gates_come_off_after_an_error(model: PreTrainedModel) -> None:
    gates = [torch.ones(3, count) for count in heads_of(model.config).num_heads_per_layer]
    message = "gates for 3 sequences, but the batch has 2"
    with pytest.raises(ValueError, match=message), gate_heads(model, gates):
        model(**probe_inputs(model))
    model(**probe_inputs(model))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (1, 2, 5)], ids=str)
def test_gates_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(ValueError, match=r"gates of layer 0 have shape"):
        gate_heads(model, [torch.ones(shape)] * 3)
    with pytest.raises(ValueError, match="2 gate tensors for 3 layers"):
        gate_heads(model, [torch.ones(5)] * 2)


@pytest.mark.parametrize(
    ("family", "model_class"),
    [("gpt2", PrunedGPT2LMHeadModel), ("llama", PrunedLlamaForCausalLM)],
)
def test_pruned_model_trains(family: str, model_class: type) -> None:
    model = tiny_model(family)
    pruned = remove(model, _plan(model, "layer0_empty")).train()
    assert type(pruned) is model_class
    # GPT-2 has dropout
    torch.manual_seed(0)
    optimiser = torch.optim.SGD(pruned.parameters(), lr=1e-2)
    ids = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(15):
        loss = pruned(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@torch.no_grad()
def test_wide_model_differs_from_its_masked_twin_by_rounding_only() -> None:
    """Below a width of about 500 one accumulator sums a row, and zeros change no bit at all."""
    model = tiny_model("gpt2", n_head=12, n_embd=768, n_layer=2, n_inner=64)
    plan = make_plan(heads_of(model.config), [[0, 3, 5, 7, 8, 11], [1, 2]])
    ids = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    # float32 has 24 bits, float64 53: the difference must shrink with the type, a bug would not
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
        model.to(dtype)
        masked, removed = (form(model, plan)(ids).logits for form in (mask, remove))
        assert float((masked - removed).abs().max()) <= tolerance * float(masked.abs().max())
