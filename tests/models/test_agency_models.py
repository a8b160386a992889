"""Gates in models of every family: the identity at rest, stored, and blind to the batch."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import load_stored, save, structure_of
from sentinel_research.models.agency import (
    AGENCY_CLASSES,
    add_agency,
    gated_layers,
    head_states,
    remove_agency,
    withdraw_consent,
)
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.pruning import make_plan, mask, remove
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import AgencySpec, GateMode, ModelSpec, StatePolicy
from tests.models.agency import MODES, disturb, disturbed, gated, ids_of

every_family = pytest.mark.parametrize("family", FAMILIES)
every_mode = pytest.mark.parametrize("mode", MODES)
HEADS = [[], [0, 1, 2], [3, 4]]


def _attentions(family: str) -> tuple[str, ...]:
    return ("eager",) if family == "bloom" else ("sdpa", "eager")


@every_family
@every_mode
def test_gates_at_rest_change_no_bit_of_the_logits(family: str, mode: GateMode) -> None:
    for attention in _attentions(family):
        plain = tiny_model(family, attn_implementation=attention)
        model = add_agency(plain, AgencySpec(gate=mode, policy=StatePolicy()))
        padded = probe_inputs(plain)
        unpadded = {"input_ids": padded["input_ids"]}
        for inputs in (padded, unpadded):
            assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
        caches = [one(**padded, use_cache=True).past_key_values for one in (model, plain)]
        nexts = [
            one(ids_of(plain, 2, 1), past_key_values=cache).logits
            for one, cache in zip((model, plain), caches, strict=True)
        ]
        assert torch.equal(*nexts)


# of GPT-NeoX transformers renames what is stored, by the name of the model's type
@pytest.mark.parametrize("family", [one for one in FAMILIES if one != "gpt_neox"])
@every_mode
def test_checkpoint_of_the_plain_model_loads_with_gates_at_rest(
    family: str, mode: GateMode, tmp_path: Path
) -> None:
    """What it lacks is filled, though it stands in a model whose class knows no gates."""
    plain = tiny_model(family)
    plain.save_pretrained(tmp_path)
    config = gated(family, mode).config
    model = AGENCY_CLASSES[family][1].from_pretrained(tmp_path, config=config).eval()
    model.set_attn_implementation(plain.config._attn_implementation)
    ids = ids_of(plain, 2, 7)
    assert torch.equal(model(ids).logits, plain(ids).logits)
    for place in gated_layers(model, config):
        assert not place.gate.num_updates.any()
        assert not place.gate.statistics().usage.any()


@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gates_at_rest_change_no_bit_in_half_precision(family: str, dtype: torch.dtype) -> None:
    plain = tiny_model(family).to(dtype)
    ids = ids_of(plain, 2, 7)
    for mode in MODES:
        model = add_agency(plain, AgencySpec(gate=mode))
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert torch.equal(model(ids).logits, plain(ids).logits)


@every_family
def test_gates_at_rest_change_no_bit_of_a_pruned_model(family: str) -> None:
    dense = tiny_model(family)
    pruned = remove(dense, make_plan(structure_of(dense.config), HEADS))
    model = add_agency(pruned, AgencySpec())
    inputs = probe_inputs(pruned)
    assert torch.equal(model(**inputs).logits, pruned(**inputs).logits)
    assert [place.heads for place in gated_layers(model, model.config)] == [(0, 1, 2), (3, 4)]
    again = remove_agency(model)
    assert type(again) is type(pruned)
    assert torch.equal(again(**inputs).logits, pruned(**inputs).logits)


@every_family
def test_gate_multiplies_what_its_head_hands_to_the_output_projection(family: str) -> None:
    model = gated(family)
    inputs = probe_inputs(model)
    for head in (0, 4):
        reference = gated(family)
        place = gated_layers(reference, reference.config)[1]
        place.gate.offset.data[head] = -1.0
        kept = [list(layer.heads) for layer in structure_of(model.config).layers]
        kept[1].remove(head)
        masked = mask(model, make_plan(structure_of(model.config), kept))
        # -1 closes the gate, and a mask does the same by another hook
        assert torch.equal(reference(**inputs).logits, masked(**inputs).logits)


@every_family
@every_mode
def test_gated_model_reloads_with_its_bits_and_states(
    family: str, mode: GateMode, tmp_path: Path
) -> None:
    model = copy.deepcopy(disturbed(family, mode))
    withdraw_consent(model, [(1, 2)])
    save(model, byte_tokenizer(), tmp_path / "model")
    loaded, _, report = load_stored(
        ModelSpec(pretrained=str(tmp_path / "model"), attn_implementation=_attentions(family)[0])
    )
    inputs = probe_inputs(model)
    assert type(loaded) is AGENCY_CLASSES[family][1]
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert head_states(loaded) == head_states(model)
    assert report["agency"]["heads"] == {"L1H2": "withdrawn"}
    assert report["agency"]["spec"]["gate"] == mode
    assert "kept_heads" not in report


@every_family
def test_agency_is_taken_off_without_a_trace(family: str) -> None:
    plain = tiny_model(family)
    model = disturb(add_agency(plain, AgencySpec(gate="input", skips=True)))
    found = remove_agency(model)
    inputs = probe_inputs(plain)
    assert type(found) is type(plain)
    assert torch.equal(found(**inputs).logits, plain(**inputs).logits)
    assert found.state_dict().keys() == plain.state_dict().keys()
    ours, theirs = (m.config.to_dict() for m in (found, plain))
    assert {k: v for k, v in ours.items() if v != theirs.get(k)} == {}
    with pytest.raises(UsageError, match="has no agency"):
        remove_agency(found)


@every_family
def test_converted_model_shares_no_memory_with_the_one_before(family: str) -> None:
    plain = tiny_model(family)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    for parameter in add_agency(plain, AgencySpec()).parameters():
        parameter.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


@every_family
@every_mode
def test_other_samples_change_no_bit(family: str, mode: GateMode) -> None:
    model = disturbed(family, mode)
    ids = ids_of(model, 3, 8)
    others = ids.clone()
    others[0], others[2] = ids_of(model, 2, 8, seed=1)
    assert torch.equal(model(ids).logits[1], model(others).logits[1])


@every_family
@every_mode
def test_later_tokens_change_no_bit_of_earlier_outputs(family: str, mode: GateMode) -> None:
    model = disturbed(family, mode)
    ids = ids_of(model, 1, 9)
    logits = model(ids).logits
    for t in (1, 5, 8):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % 200
        after = model(changed).logits
        assert torch.equal(after[:, :t], logits[:, :t])
        assert not torch.equal(after[:, t:], logits[:, t:])


@every_family
@every_mode
def test_evaluation_twice_gives_the_same_bits_and_changes_no_buffer(
    family: str, mode: GateMode
) -> None:
    model = disturbed(family, mode)
    before = copy.deepcopy(model.state_dict())
    ids = ids_of(model, 2, 8)
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_mode
def test_forward_in_training_changes_no_buffer(mode: GateMode) -> None:
    model = copy.deepcopy(disturbed("gpt2", mode)).train()
    before = copy.deepcopy(dict(model.named_buffers()))
    ids = ids_of(model, 2, 8)
    model(ids, labels=ids).loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


@every_family
@every_mode
def test_decoding_with_a_cache_equals_the_whole_pass(family: str, mode: GateMode) -> None:
    model = disturbed(family, mode)
    ids = ids_of(model, 2, 9)
    whole = model(ids).logits
    cache = model(ids[:, :4], use_cache=True).past_key_values
    parts = [model(ids[:, t : t + 1], past_key_values=cache).logits for t in range(4, 9)]
    # sums over keys in another order, grown over three layers
    bound = 1e-4 * whole.abs().max().item()
    assert (torch.cat(parts, dim=1) - whole[:, 4:]).abs().max().item() < bound


@every_family
@every_mode
def test_gradient_checkpointing_gives_the_same_gradients(family: str, mode: GateMode) -> None:
    def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
        ids = ids_of(model, 2, 8)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            model(ids, labels=ids, use_cache=False).loss.backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    plain = copy.deepcopy(disturbed(family, mode)).train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.activation_checkpointing_enable()
    first, second = gradients(plain), gradients(checkpointed)
    assert sum("head_gate" in name for name in first) >= 3
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_model_that_has_agency_gets_no_second_one() -> None:
    with pytest.raises(UsageError, match="has agency already") as caught:
        add_agency(gated("gpt2"), AgencySpec())
    assert "remove_agency" in caught.value.hint


def test_masked_model_gets_no_gates() -> None:
    model = tiny_model("gpt2")
    masked = mask(model, make_plan(structure_of(model.config), [[0], [0], [0]]))
    with pytest.raises(UsageError, match="masked model cannot be gated"):
        add_agency(masked, AgencySpec())


def test_masked_gated_model_is_not_saved(tmp_path: Path) -> None:
    model = gated("gpt2")
    masked = mask(model, make_plan(structure_of(model.config), [[0], [0], [0]]))
    with pytest.raises(UsageError, match="masked model cannot be saved"):
        save(masked, byte_tokenizer(), tmp_path / "model")


@every_family
def test_gated_model_built_from_its_configuration_is_at_rest(family: str) -> None:
    config = disturb(gated(family, "input", skips=True)).config
    fresh = AGENCY_CLASSES[family][1](config)
    added = {n: p for n, p in fresh.named_parameters() if "head_gate" in n or "agency" in n}
    assert len(added) == 3 * 2 + 1
    assert all(parameter.eq(0).all() for parameter in added.values())


def test_half_precision_load_keeps_states(tmp_path: Path) -> None:
    model = copy.deepcopy(disturbed("llama"))
    withdraw_consent(model, [(0, 1)])
    save(model, byte_tokenizer(), tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert head_states(loaded) == head_states(model)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}


def test_gates_learn() -> None:
    model = gated("gpt2")  # as in evaluation: dropout hides what they learn
    ids = ids_of(model, 4, 16)
    gates = [p for n, p in model.named_parameters() if "head_gate" in n]
    optimiser = torch.optim.AdamW(gates, lr=0.05)
    losses = []
    for _ in range(10):
        loss = model(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3
