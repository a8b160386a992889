"""The causal LM with a mixer slot: sizes, inputs and outputs, saving, configuration, encoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import withdraw_consent
from sentinel_research.models.sentinel import SentinelForCausalLM, SentinelModel
from sentinel_research.pruning.head_statistics import measure_heads
from tests.models.sentinel import (
    EVERY,
    VOCAB_SIZE,
    logits_of,
    random_tokens,
    sentinel_config,
    sentinel_model,
)


@pytest.mark.parametrize("mixers", ["attention", "agency"])
def test_attention_in_every_layer_is_llama_to_the_bit(mixers: str) -> None:
    """Gates at rest included."""
    model = sentinel_model(mixers)
    names = LlamaConfig().to_dict().keys() & model.config.to_dict().keys() - {"model_type"}
    llama = LlamaForCausalLM(
        LlamaConfig(**{name: getattr(model.config, name) for name in names})
    ).eval()
    weights = {name: one for name, one in model.state_dict().items() if "head_gate" not in name}
    llama.load_state_dict(weights)
    assert torch.equal(logits_of(model, random_tokens()), logits_of(llama, random_tokens()))


@EVERY
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resolvent_conv_kernel": 0, "tie_word_embeddings": False},
        {"head_dim": 10, "attention_bias": True, "mlp_bias": True, "num_hidden_layers": 3},
    ],
    ids=["plain", "untied-no-conv", "biases"],
)
def test_config_knows_the_number_of_parameters(mixers: Any, changes: dict[str, Any]) -> None:
    model = sentinel_model(mixers, **changes)
    config = model.config
    assert config.num_params() == sum(one.numel() for one in model.parameters())
    embeddings = sum(
        one.numel()
        for name, one in model.named_parameters()
        if "embed" in name or "lm_head" in name
    )
    assert config.num_params("non_embedding") == config.num_params() - embeddings


@pytest.mark.parametrize("gate", ["static", "input", "hard_concrete"])
def test_config_counts_gates(gate: str) -> None:
    model = sentinel_model("agency", agency={"gate": gate}, attn_implementation="eager")
    assert model.config.num_params() == sum(one.numel() for one in model.parameters())
    with FlopCounterMode(display=False) as counter:
        logits_of(model, random_tokens(2, 13))
    assert counter.get_total_flops() == 2 * model.config.num_flops(13)


def test_states_of_agency_layers_are_measured_locked_and_saved(tmp_path: Path) -> None:
    model = sentinel_model(
        ["agency", "resolvent", "agency"], agency={"gate": "static", "policy": {}}
    )
    before = logits_of(model, random_tokens())
    text = CalibrationSet.of(random_tokens(4, 16))
    assert [place.layer for place, _ in measure_heads(model, text)] == [0, 2]
    withdraw_consent(model, [(0, 1), (2, 3)])
    withdrawn = logits_of(model, random_tokens())
    assert not torch.equal(before, withdrawn)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits_of(loaded, random_tokens()), withdrawn)


@EVERY
@pytest.mark.parametrize("kernel", [0, 4])
def test_config_knows_the_number_of_operations(mixers: Any, kernel: int) -> None:
    # a fused attention kernel hides its products from the counter
    model = sentinel_model(mixers, resolvent_conv_kernel=kernel, attn_implementation="eager")
    tokens = random_tokens(2, 13)
    with FlopCounterMode(display=False) as counter:
        logits_of(model, tokens)
    assert counter.get_total_flops() == 2 * model.config.num_flops(13)


@EVERY
def test_saved_model_reloads_bit_equal_through_the_auto_classes(
    mixers: Any, tmp_path: Path
) -> None:
    model = sentinel_model(mixers)
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.mixers == model.config.mixers
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is SentinelForCausalLM
    assert torch.equal(logits_of(loaded, random_tokens()), logits_of(model, random_tokens()))
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


@EVERY
def test_embedded_inputs_give_the_same_logits_as_tokens(mixers: Any) -> None:
    model, tokens = sentinel_model(mixers), random_tokens()
    with torch.no_grad():
        found = model(inputs_embeds=model.get_input_embeddings()(tokens)).logits
    assert torch.equal(found, logits_of(model, tokens))


def test_both_tokens_and_embeddings_are_refused() -> None:
    model, tokens = sentinel_model(), random_tokens()
    with pytest.raises(ValueError, match="exactly one"):
        model(tokens, inputs_embeds=model.get_input_embeddings()(tokens))


@EVERY
def test_hidden_states_and_attentions_are_recorded(mixers: Any) -> None:
    model = sentinel_model(mixers, attn_implementation="eager")
    with torch.no_grad():
        outputs = model(random_tokens(), output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 4
    assert len(outputs.attentions) == 3 - model.config.mixers.count("resolvent")


@EVERY
def test_vocabulary_can_grow(mixers: Any) -> None:
    model = sentinel_model(mixers)
    model.resize_token_embeddings(VOCAB_SIZE + 5)
    assert logits_of(model, random_tokens()).shape[-1] == VOCAB_SIZE + 5
    assert model.config.num_params() == sum(one.numel() for one in model.parameters())


def test_initial_memories_spread_from_two_to_two_hundred_positions() -> None:
    mixer = SentinelForCausalLM(sentinel_config(resolvent_size=64)).model.layers[0].mixer
    memories = (1 / mixer.width).detach()
    assert memories.min() > 1.5
    assert memories.max() < 250
    assert memories.log().std() > 1, "the channels have one time scale"
    correlation = torch.corrcoef(torch.stack([memories.log(), mixer.energy.detach()]))[0, 1]
    assert abs(correlation) < 0.2, "energy and memory go together"


def test_initial_weights_are_filled_wherever_a_checkpoint_lacks_them(tmp_path: Path) -> None:
    model = SentinelForCausalLM(sentinel_config())
    state = {name: one for name, one in model.state_dict().items() if "mixer.energy" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    loaded, report = SentinelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert len(report["missing_keys"]) == 3
    for before, after in zip(model.model.layers, loaded.model.layers, strict=True):
        assert torch.equal(before.mixer.energy, after.mixer.energy)


def test_encoder_with_both_sweeps_sees_what_follows() -> None:
    model = SentinelModel(sentinel_config(resolvent_bidirectional=True)).eval()
    tokens = random_tokens()
    changed = tokens.clone()
    changed[:, -1] = 3 + (tokens[:, -1] - 2) % (VOCAB_SIZE - 3)
    with torch.no_grad():
        before, after = (model(one).last_hidden_state for one in (tokens, changed))
    assert not torch.equal(before[:, 5], after[:, 5])


def test_encoder_does_the_operations_of_two_sweeps() -> None:
    config = sentinel_config(resolvent_bidirectional=True)
    model, tokens = SentinelModel(config).eval(), random_tokens(2, 13)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert model(tokens).past_key_values is None
    head = 2 * config.hidden_size * config.vocab_size * 13
    assert counter.get_total_flops() == 2 * (config.num_flops(13) - head)


def test_causal_lm_refuses_both_sweeps() -> None:
    with pytest.raises(UsageError, match="tokens that a causal LM is to predict"):
        SentinelForCausalLM(sentinel_config(resolvent_bidirectional=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixers": "resolvant"}, "unknown mixer 'resolvant'"),
        ({"mixers": ["attention"]}, "names 1 layers, `num_hidden_layers` is 3"),
        ({"mixers": "attention", "agency": {"gate": "static"}}, "`agency` belongs to layers"),
        ({"mixers": "agency", "agency": {"gate": None, "skips": True}}, "`agency` names no gate"),
        ({"mixers": "attention", "head_dim": 7}, "even head_dim, got 7"),
        ({"mixers": "attention", "num_key_value_heads": 3}, "4 query heads cannot share 3"),
    ],
    ids=["unknown", "count", "no-agency", "no-gate", "odd", "groups"],
)
def test_configuration_that_cannot_be_built_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        sentinel_config(**changes)
