"""U-Net connections and baseline integration: the identity at the start, causal, stored."""

import copy
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, StaticCache

from sentinel_research.errors import UsageError
from sentinel_research.models import load_stored, save, structure_of
from sentinel_research.models.agency import add_agency
from sentinel_research.models.agency.skips import SkipFusion
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.pruning import load, make_plan, remove
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import AgencySpec, ModelSpec
from tests.models.agency import disturb, ids_of

every_family = pytest.mark.parametrize("family", FAMILIES)
PATHS = [{"skips": True}, {"baseline": "other"}, {"skips": True, "baseline": "other"}]
every_path = pytest.mark.parametrize("paths", PATHS, ids=["skips", "baseline", "both"])


def _model(family: str, paths: dict[str, object], gate: str | None = None) -> PreTrainedModel:
    spec = AgencySpec.model_validate({"gate": gate, **paths})
    baseline = tiny_model(family, seed=1) if spec.baseline else None
    return add_agency(tiny_model(family), spec, baseline=baseline)


@every_family
@every_path
def test_paths_at_the_start_change_no_bit_of_the_logits(
    family: str, paths: dict[str, object]
) -> None:
    plain, model = tiny_model(family), _model(family, paths)
    padded = probe_inputs(plain)
    for inputs in (padded, {"input_ids": padded["input_ids"]}):
        assert torch.equal(model(**inputs).logits, plain(**inputs).logits)


@every_family
@every_path
def test_trained_paths_are_causal_and_blind_to_the_batch(
    family: str, paths: dict[str, object]
) -> None:
    model = disturb(_model(family, paths))
    ids = ids_of(model, 2, 9)
    logits = model(ids).logits
    assert not torch.equal(logits, tiny_model(family)(ids).logits)
    for t in (1, 5, 8):
        changed = ids.clone()
        changed[0, t] = (ids[0, t] + 1) % 200
        after = model(changed).logits
        assert torch.equal(after[0, :t], logits[0, :t])
        assert torch.equal(after[1], logits[1])


@every_family
@every_path
def test_decoding_with_a_cache_equals_the_whole_pass(family: str, paths: dict[str, object]) -> None:
    model = disturb(_model(family, paths))
    ids = ids_of(model, 2, 9)
    whole = model(ids).logits
    # sums over keys in another order, grown over three layers
    bound = 1e-4 * whole.abs().max().item()
    cache = model(ids[:, :4], use_cache=True).past_key_values
    parts = [model(ids[:, t : t + 1], past_key_values=cache).logits for t in range(4, 9)]
    assert (torch.cat(parts, dim=1) - whole[:, 4:]).abs().max().item() < bound


@every_family
def test_cache_that_a_model_makes_unasked_holds_the_baselines_too(family: str) -> None:
    model = disturb(_model(family, PATHS[1]))
    ids = ids_of(model, 2, 9)
    whole = model(ids).logits[:, 4:]
    rest = model(ids[:, 4:], past_key_values=model(ids[:, :4]).past_key_values).logits
    # sums over keys in another order, grown over three layers
    assert (rest - whole).abs().max().item() < 1e-4 * whole.abs().max().item()


@every_family
def test_generation_equals_whole_passes_token_by_token(family: str) -> None:
    model = disturb(_model(family, PATHS[2]))
    ids = ids_of(model, 2, 5)
    ends = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    found = model.generate(ids, attention_mask=torch.ones_like(ids), **ends)
    expected = ids
    for _ in range(4):
        best = model(expected, use_cache=False).logits[:, -1:].argmax(dim=-1)
        expected = torch.cat([expected, best], dim=1)
    assert torch.equal(found, expected)


@every_family
def test_model_with_paths_reloads_with_its_bits(family: str, tmp_path: Path) -> None:
    model = disturb(_model(family, PATHS[2], gate="static"))
    save(model, byte_tokenizer(), tmp_path / "model")
    loaded = load_stored(ModelSpec(pretrained=str(tmp_path / "model"))).model
    inputs = probe_inputs(model)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert copy.deepcopy(loaded)(**inputs).logits.equal(model(**inputs).logits)


@every_family
def test_frozen_baseline_is_the_model_that_it_was_copied_from(family: str) -> None:
    other, seen = tiny_model(family, seed=1), []
    model = _model(family, {"baseline": "other"})
    mixes = model.get_submodule("agency_mixes")
    for mix in mixes.children():
        mix.register_forward_pre_hook(lambda _module, args: seen.append(args[1]))
    inputs = probe_inputs(model)
    model(**inputs)
    states = other(**inputs, output_hidden_states=True).hidden_states
    # three layers: those from 1 on receive
    assert len(seen) == 2
    assert torch.equal(seen[0], states[1])
    assert torch.equal(seen[1], states[2])


def test_layer_receives_what_its_mirror_image_read() -> None:
    model, seen = _model("gpt2", {"skips": True}), []
    (fusion,) = model.get_submodule("agency_skips").children()
    fusion.register_forward_pre_hook(lambda _module, args: seen.append(args))
    ids = ids_of(model, 2, 6)
    states = model(ids, output_hidden_states=True).hidden_states
    ((hidden, earlier),) = seen
    assert torch.equal(hidden, states[2])
    assert torch.equal(earlier, states[0])


def test_connection_adds_a_map_of_both_states_to_the_later_one() -> None:
    fusion = SkipFusion(3)
    hidden, earlier = torch.rand(2, 1, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fusion.weight.copy_(torch.cat([2 * torch.eye(3), 4 * torch.eye(3)], dim=1))
    torch.testing.assert_close(fusion(hidden, earlier), 3 * hidden + 4 * earlier)


def test_names_under_which_checkpoints_hold_agency_are_those_of_every_release() -> None:
    model = _model("gpt2", PATHS[2], gate="input")
    names = {re.sub(r"\.\d+", ".N", name) for name in model.state_dict()}
    baseline = {name for name in names if name.startswith("agency_baseline.decoder.")}
    plain = {re.sub(r"\.\d+", ".N", name) for name in tiny_model("gpt2").state_dict()}
    gate = "transformer.h.N.attn.head_gate"
    parts = ("alignment", "lock", "multiplier", "num_updates", "state", "usage", "utilisation")
    expected = {*(f"{gate}.{part}" for part in (*parts, "weight", "offset"))}
    assert names - baseline - plain == {"agency_mixes.N.weight", "agency_skips.N.weight", *expected}
    assert baseline
    assert type(model).__name__ == "AgencyGPT2LMHeadModel"
    assert type(model.config).__name__ == "AgencyGPT2Config"


@every_path
def test_paths_learn_and_the_baseline_never_does(paths: dict[str, object], tmp_path: Path) -> None:
    model = _model("gpt2", paths)
    save(model, byte_tokenizer(), tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for one in (model, loaded):
        one.train()
        ids = ids_of(one, 2, 8)
        one(ids, labels=ids).loss.backward()
        for name, parameter in one.named_parameters():
            if name.startswith("agency_baseline"):
                assert not parameter.requires_grad
                assert parameter.grad is None
            elif name.startswith("agency"):
                assert parameter.grad is not None
                assert parameter.grad.ne(0).any()
        assert not any(
            module.training
            for name, module in one.named_modules()
            if name.startswith("agency_baseline")
        )


@every_path
def test_gradient_checkpointing_gives_the_same_gradients(paths: dict[str, object]) -> None:
    found = []
    for checkpointing in (False, True):
        model = disturb(_model("llama", paths)).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        ids = ids_of(model, 2, 8)
        model(ids, labels=ids, use_cache=False).loss.backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_pruned_model_takes_paths_too() -> None:
    dense = tiny_model("llama")
    pruned = remove(dense, make_plan(structure_of(dense.config), [[], [0, 1, 2], [3, 4]]))
    spec = AgencySpec(skips=True, baseline="dense")
    model = add_agency(pruned, spec, baseline=dense)
    ids = ids_of(model, 2, 7)
    assert torch.equal(model(ids).logits, pruned(ids).logits)
    cache = disturb(model)(ids[:, :4], use_cache=True).past_key_values
    after = model(ids[:, 4:], past_key_values=cache).logits
    whole = model(ids).logits
    assert torch.allclose(after, whole[:, 4:], atol=1e-4 * whole.abs().max().item())


def test_gated_model_with_paths_is_pruned_keeps_them_and_decodes() -> None:
    model = disturb(_model("gpt2", PATHS[2], gate="input"))
    kept = [[0, 1, 2, 3, 4], [1, 3], [0]]
    pruned = remove(model, make_plan(structure_of(model.config), kept))
    assert type(pruned) is type(model)
    assert [len(layer.heads) for layer in structure_of(pruned.config).layers] == [5, 2, 1]
    assert pruned.get_submodule("agency_skips") is not None
    ids = ids_of(model, 2, 9)
    whole = pruned(ids).logits
    cache = pruned(ids[:, :6], use_cache=True).past_key_values
    after = pruned(ids[:, 6:], past_key_values=cache).logits
    # float32 sums over another number of rows
    assert torch.allclose(after, whole[:, 6:], atol=1e-4 * whole.abs().max().item())


def test_baseline_of_a_recipe_is_loaded_from_its_folder(tmp_path: Path) -> None:
    for seed, name in ((0, "model"), (1, "other")):
        save(tiny_model("gpt2", seed=seed), byte_tokenizer(), tmp_path / name)
    spec = AgencySpec(gate=None, baseline=str(tmp_path / "other"))
    model, _, report = load(ModelSpec(pretrained=str(tmp_path / "model"), agency=spec))
    ids = ids_of(model, 2, 7)
    assert torch.equal(model(ids).logits, tiny_model("gpt2")(ids).logits)
    assert report["model_type"] == "agency_gpt2"
    assert report["agency"]["spec"]["baseline"] == str(tmp_path / "other")
    disturb(model)
    expected = disturb(_model("gpt2", {"baseline": "other"}))
    assert torch.equal(model(ids).logits, expected(ids).logits)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (None, "the model given is absent"),
        (("llama", {}), "a baseline of type 'llama' does not fit"),
        (("gpt2", {"vocab_size": 300}), "the baseline has tokens 300, the model 259"),
        (("gpt2", {"n_positions": 32}), "the baseline has positions 32, the model 64"),
    ],
    ids=["missing", "family", "vocabulary", "context"],
)
def test_baseline_that_does_not_fit_is_refused(
    baseline: tuple[str, dict[str, int]] | None, message: str
) -> None:
    model = None if baseline is None else tiny_model(baseline[0], **baseline[1])
    with pytest.raises(UsageError, match=message):
        add_agency(tiny_model("gpt2"), AgencySpec(baseline="other"), baseline=model)


def test_baseline_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(UsageError, match="`baseline` is None in the spec"):
        add_agency(tiny_model("gpt2"), AgencySpec(), baseline=tiny_model("gpt2"))


def test_cache_that_the_baseline_has_not_filled_is_refused() -> None:
    model = _model("gpt2", {"baseline": "other"})
    ids = ids_of(model, 1, 4)
    cache = tiny_model("gpt2")(ids, use_cache=True).past_key_values
    with pytest.raises(UsageError, match="4 tokens that the baseline"):
        model(ids, past_key_values=cache)
    with pytest.raises(UsageError, match="cannot share a StaticCache"):
        model(ids, past_key_values=StaticCache(config=model.config, max_cache_len=8))


def test_baseline_reads_token_ids_only() -> None:
    model = _model("gpt2", {"baseline": "other"})
    with pytest.raises(UsageError, match="got embeddings"):
        model(inputs_embeds=torch.zeros(1, 3, 30))
