"""The causal LM with a mixer slot: what transformers and a causal model must both be able to do."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    StaticCache,
)

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import withdraw_consent
from sentinel_research.models.sentinel import SentinelConfig, SentinelForCausalLM, SentinelModel
from sentinel_research.training.agency import measure_heads

VOCAB_SIZE = 61
MIXERS: dict[str, Any] = {
    "attention": "attention",
    "resolvent": "resolvent",
    "agency": "agency",
    "hybrid": ["resolvent", "attention", "resolvent"],
    "hybrid-attention-first": ["attention", "resolvent", "agency"],
}
EVERY = pytest.mark.parametrize("mixers", MIXERS.values(), ids=MIXERS)
_RECURRENT = {name: one for name, one in MIXERS.items() if "resolvent" in one}
RECURRENT = pytest.mark.parametrize("mixers", _RECURRENT.values(), ids=_RECURRENT)


def _config(mixers: Any = "resolvent", **changes: Any) -> SentinelConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 24,
        "intermediate_size": 37,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "resolvent_size": 19,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return SentinelConfig(mixers=mixers, **{**sizes, **changes})


def _model(mixers: Any = "resolvent", *, seed: int = 0, **changes: Any) -> SentinelForCausalLM:
    """Random, with weights large enough for every part to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SentinelForCausalLM(_config(mixers, **changes))
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.15)
    return model.eval()


def _tokens(batch: int = 2, length: int = 17, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB_SIZE, (batch, length), generator=generator)


def _logits(model: nn.Module, tokens: Tensor, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens, **kwargs).logits
    return logits


def _close(actual: Tensor, expected: Tensor) -> None:
    # float32 through three blocks, whose rounding a resonance of up to 200 positions multiplies
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-4 * expected.abs().max().item())


@pytest.mark.parametrize("mixers", ["attention", "agency"])
def test_attention_in_every_layer_is_llama_to_the_bit(mixers: str) -> None:
    """Gates at rest included."""
    model = _model(mixers)
    names = LlamaConfig().to_dict().keys() & model.config.to_dict().keys() - {"model_type"}
    llama = LlamaForCausalLM(
        LlamaConfig(**{name: getattr(model.config, name) for name in names})
    ).eval()
    weights = {name: one for name, one in model.state_dict().items() if "head_gate" not in name}
    llama.load_state_dict(weights)
    assert torch.equal(_logits(model, _tokens()), _logits(llama, _tokens()))


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
    model = _model(mixers, **changes)
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
    model = _model("agency", agency={"gate": gate}, attn_implementation="eager")
    assert model.config.num_params() == sum(one.numel() for one in model.parameters())
    with FlopCounterMode(display=False) as counter:
        _logits(model, _tokens(2, 13))
    assert counter.get_total_flops() == 2 * model.config.num_flops(13)


def test_states_of_agency_layers_are_measured_locked_and_saved(tmp_path: Path) -> None:
    model = _model(["agency", "resolvent", "agency"], agency={"gate": "static", "policy": {}})
    before = _logits(model, _tokens())
    text = CalibrationSet.of(_tokens(4, 16))
    assert [place.layer for place, _ in measure_heads(model, text)] == [0, 2]
    withdraw_consent(model, [(0, 1), (2, 3)])
    withdrawn = _logits(model, _tokens())
    assert not torch.equal(before, withdrawn)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(_logits(loaded, _tokens()), withdrawn)


@EVERY
@pytest.mark.parametrize("kernel", [0, 4])
def test_config_knows_the_number_of_operations(mixers: Any, kernel: int) -> None:
    # a fused attention kernel hides its products from the counter
    model = _model(mixers, resolvent_conv_kernel=kernel, attn_implementation="eager")
    tokens = _tokens(2, 13)
    with FlopCounterMode(display=False) as counter:
        _logits(model, tokens)
    assert counter.get_total_flops() == 2 * model.config.num_flops(13)


@EVERY
@pytest.mark.parametrize("kernel", [0, 4])
@pytest.mark.parametrize("pieces", [[1] * 17, [5, 1, 1, 7, 3], [16, 1]], ids=str)
def test_cached_pieces_equal_the_full_pass(mixers: Any, kernel: int, pieces: list[int]) -> None:
    model, tokens = _model(mixers, resolvent_conv_kernel=kernel), _tokens()
    cache, found = None, []
    for piece in tokens.split(pieces, 1):
        with torch.no_grad():
            outputs = model(piece, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        found.append(outputs.logits)
    _close(torch.cat(found, 1), _logits(model, tokens))
    assert cache.get_seq_length() == 17


@EVERY
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kernel", [0, 4])
def test_padded_sequence_gives_what_it_gives_alone(mixers: Any, side: str, kernel: int) -> None:
    model = _model(mixers, resolvent_conv_kernel=kernel)
    tokens, padding = _tokens(1, 9), torch.zeros(1, 4, dtype=torch.long)
    parts = [padding, tokens] if side == "left" else [tokens, padding]
    padded = torch.cat([torch.cat(parts, 1), _tokens(1, 13, seed=1)])
    mask = (padded != 0).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    found = _logits(model, padded, attention_mask=mask, position_ids=positions)[:1]
    kept = found[:, 4:] if side == "left" else found[:, :9]
    _close(kept, _logits(model, tokens))


@RECURRENT
def test_padding_in_a_later_piece_is_cut_off_too(mixers: Any) -> None:
    """A batch of unequal prompts, prefilled in two pieces whose padding reaches into the second."""
    model = _model(mixers)
    tokens = torch.cat([torch.zeros(1, 6, dtype=torch.long), _tokens(1, 5)], 1)
    tokens = torch.cat([tokens, _tokens(1, 11, seed=1)])
    mask = (tokens != 0).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    whole = _logits(model, tokens, attention_mask=mask, position_ids=positions)
    cache = DynamicCache(config=model.config)
    found = [
        _logits(
            model,
            tokens[:, start:stop],
            attention_mask=mask[:, :stop],
            position_ids=positions[:, start:stop],
            past_key_values=cache,
        )
        for start, stop in ((0, 4), (4, 11))
    ]
    _close(torch.cat(found, 1)[mask.bool()], whole[mask.bool()])


@EVERY
@pytest.mark.parametrize("position", [0, 3, 16])
def test_changing_a_token_leaves_every_earlier_logit_bit_equal(mixers: Any, position: int) -> None:
    model, tokens = _model(mixers), _tokens()
    changed = tokens.clone()
    changed[:, position] = 3 + (tokens[:, position] - 2) % (VOCAB_SIZE - 3)
    before, after = _logits(model, tokens), _logits(model, changed)
    assert torch.equal(before[:, :position], after[:, :position])
    assert not torch.equal(before[:, position:], after[:, position:])


@EVERY
def test_sequence_does_not_depend_on_the_rest_of_the_batch(mixers: Any) -> None:
    model, tokens = _model(mixers), _tokens(3)
    changed = tokens.clone()
    changed[[0, 2]] = _tokens(2, seed=5)
    assert torch.equal(_logits(model, tokens)[1], _logits(model, changed)[1])


@EVERY
@pytest.mark.parametrize("cache_class", [DynamicCache, StaticCache])
def test_either_cache_gives_the_logits_of_the_full_pass(mixers: Any, cache_class: Any) -> None:
    model, tokens = _model(mixers), _tokens()
    sizes = {"max_cache_len": 20} if cache_class is StaticCache else {}
    cache = cache_class(config=model.config, **sizes)
    found = [_logits(model, piece, past_key_values=cache) for piece in tokens.split([9, 7, 1], 1)]
    _close(torch.cat(found, 1), _logits(model, tokens))


@EVERY
@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"prefill_chunk_size": 4}, {"cache_implementation": "static"}],
    ids=["greedy", "beams", "chunked-prefill", "static-cache"],
)
def test_generation_with_a_cache_equals_generation_without(
    mixers: Any, options: dict[str, Any]
) -> None:
    model, tokens = _model(mixers), _tokens(2, 9)
    # compilation is another matter, and takes minutes
    shared = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    found = model.generate(tokens, **shared, **options, disable_compile=True)
    beams = {key: value for key, value in options.items() if key == "num_beams"}
    expected = model.generate(tokens, **shared, **beams, use_cache=False)
    assert torch.equal(found, expected)


@EVERY
def test_generation_from_unequal_prompts_equals_one_by_one(mixers: Any) -> None:
    model, short, long = _model(mixers), _tokens(1, 5), _tokens(1, 9, seed=1)
    padded = torch.cat([torch.cat([torch.zeros(1, 4, dtype=torch.long), short], 1), long])
    shared = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    found = model.generate(padded, attention_mask=(padded != 0).long(), **shared)
    assert torch.equal(found[:1, 4:], model.generate(short, **shared))
    assert torch.equal(found[1:], model.generate(long, **shared))


@RECURRENT
def test_state_has_the_same_size_at_any_length(mixers: Any) -> None:
    model = _model(mixers)
    sizes = []
    for length in (7, 70):
        with torch.no_grad():
            cache = model(_tokens(1, length), use_cache=True).past_key_values
        layer = cache.layers[model.config.mixers.index("resolvent")]
        sizes.append(sum(one.numel() for one in (layer.conv_states[0], layer.state)))
    assert sizes == [19 * (4 + 4)] * 2


def test_reset_cache_starts_over() -> None:
    model, tokens = _model(MIXERS["hybrid"]), _tokens()
    cache = StaticCache(config=model.config, max_cache_len=20)
    first = _logits(model, tokens, past_key_values=cache)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert torch.equal(_logits(model, tokens, past_key_values=cache), first)


def test_state_cannot_be_cropped() -> None:
    with torch.no_grad():
        cache = _model()(_tokens(), use_cache=True).past_key_values
    with pytest.raises(RuntimeError, match="cannot forget"):
        cache.crop(-1)


@EVERY
def test_saved_model_reloads_bit_equal_through_the_auto_classes(
    mixers: Any, tmp_path: Path
) -> None:
    model = _model(mixers)
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.mixers == model.config.mixers
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is SentinelForCausalLM
    assert torch.equal(_logits(loaded, _tokens()), _logits(model, _tokens()))
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


@EVERY
def test_gradient_checkpointing_changes_no_gradient(mixers: Any) -> None:
    model, tokens = _model(mixers), _tokens()
    gradients = []
    for checkpointing in (False, True):
        one = copy.deepcopy(model).train()
        if checkpointing:
            one.activation_checkpointing_enable()
        one(tokens, labels=tokens).loss.backward()
        gradients.append([parameter.grad for parameter in one.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain is not None
        assert plain.abs().max() > 0
        assert torch.equal(plain, checkpointed)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_float32(mixers: Any, dtype: torch.dtype) -> None:
    model = _model(mixers)
    expected = _logits(model, _tokens())
    found = _logits(copy.deepcopy(model).to(dtype), _tokens())
    assert found.dtype == dtype
    # eight bits of mantissa, parameters of the recursion too, through three blocks
    assert (found.float() - expected).norm() < 0.1 * expected.norm()


@EVERY
def test_autocast_trains_in_bfloat16(mixers: Any) -> None:
    model, tokens = _model(mixers).train(), _tokens()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(tokens, labels=tokens).loss
    loss.backward()
    expected = _model(mixers)(tokens, labels=tokens).loss
    assert abs(loss.item() - expected.item()) < 0.02 * expected.item()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


@EVERY
def test_embedded_inputs_give_the_same_logits_as_tokens(mixers: Any) -> None:
    model, tokens = _model(mixers), _tokens()
    with torch.no_grad():
        found = model(inputs_embeds=model.get_input_embeddings()(tokens)).logits
    assert torch.equal(found, _logits(model, tokens))


def test_both_tokens_and_embeddings_are_refused() -> None:
    model, tokens = _model(), _tokens()
    with pytest.raises(ValueError, match="exactly one"):
        model(tokens, inputs_embeds=model.get_input_embeddings()(tokens))


@EVERY
def test_loss_is_the_mean_over_scored_tokens(mixers: Any) -> None:
    model, tokens = _model(mixers), _tokens()
    labels = tokens.clone()
    labels[0, 5:9] = -100
    log_probs = _logits(model, tokens)[:, :-1].log_softmax(-1)
    targets = labels[:, 1:]
    kept = targets != -100
    picked = log_probs.gather(2, targets.clamp(min=0)[..., None])[..., 0][kept]
    with torch.no_grad():
        loss = model(tokens, labels=labels).loss
    torch.testing.assert_close(loss, -picked.mean())


@EVERY
def test_hidden_states_and_attentions_are_recorded(mixers: Any) -> None:
    model = _model(mixers, attn_implementation="eager")
    with torch.no_grad():
        outputs = model(_tokens(), output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 4
    assert len(outputs.attentions) == 3 - model.config.mixers.count("resolvent")


@EVERY
def test_vocabulary_can_grow(mixers: Any) -> None:
    model = _model(mixers)
    model.resize_token_embeddings(VOCAB_SIZE + 5)
    assert _logits(model, _tokens()).shape[-1] == VOCAB_SIZE + 5
    assert model.config.num_params() == sum(one.numel() for one in model.parameters())


def test_initial_memories_spread_from_two_to_two_hundred_positions() -> None:
    mixer = SentinelForCausalLM(_config(resolvent_size=64)).model.layers[0].mixer
    memories = (1 / mixer.width).detach()
    assert memories.min() > 1.5
    assert memories.max() < 250
    assert memories.log().std() > 1, "the channels have one time scale"
    correlation = torch.corrcoef(torch.stack([memories.log(), mixer.energy.detach()]))[0, 1]
    assert abs(correlation) < 0.2, "energy and memory go together"


def test_initial_weights_are_filled_wherever_a_checkpoint_lacks_them(tmp_path: Path) -> None:
    model = SentinelForCausalLM(_config())
    state = {name: one for name, one in model.state_dict().items() if "mixer.energy" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    loaded, report = SentinelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert len(report["missing_keys"]) == 3
    for before, after in zip(model.model.layers, loaded.model.layers, strict=True):
        assert torch.equal(before.mixer.energy, after.mixer.energy)


def test_encoder_with_both_sweeps_sees_what_follows() -> None:
    model = SentinelModel(_config(resolvent_bidirectional=True)).eval()
    tokens = _tokens()
    changed = tokens.clone()
    changed[:, -1] = 3 + (tokens[:, -1] - 2) % (VOCAB_SIZE - 3)
    with torch.no_grad():
        before, after = (model(one).last_hidden_state for one in (tokens, changed))
    assert not torch.equal(before[:, 5], after[:, 5])


def test_encoder_does_the_operations_of_two_sweeps() -> None:
    config = _config(resolvent_bidirectional=True)
    model, tokens = SentinelModel(config).eval(), _tokens(2, 13)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert model(tokens).past_key_values is None
    head = 2 * config.hidden_size * config.vocab_size * 13
    assert counter.get_total_flops() == 2 * (config.num_flops(13) - head)


def test_causal_lm_refuses_both_sweeps() -> None:
    with pytest.raises(UsageError, match="tokens that a causal LM is to predict"):
        SentinelForCausalLM(_config(resolvent_bidirectional=True))


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
        _config(**changes)


def _held_out_loss(model: nn.Module, num_steps: int) -> tuple[float, float]:
    """Train on uniform tokens; mean held-out loss in nats and its standard error."""
    generator = torch.Generator().manual_seed(0)

    def batch(size: int) -> Tensor:
        return torch.randint(16, (size, 32), generator=generator)

    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(num_steps):
        tokens = batch(16)
        model.train()(tokens, labels=tokens).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    tokens = batch(256)
    log_probs = _logits(model.eval(), tokens)[:, :-1].log_softmax(-1)
    losses = -log_probs.gather(2, tokens[:, 1:, None]).flatten()
    return losses.mean().item(), losses.std().item() / math.sqrt(len(losses))


@pytest.mark.parametrize("mixers", ["agency", "resolvent"])
def test_training_on_uniform_tokens_does_not_beat_their_entropy(mixers: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SentinelForCausalLM(_config(mixers, vocab_size=16, num_hidden_layers=2))
    loss, error = _held_out_loss(model, 150)
    assert loss > math.log(16) - 4 * error


def test_training_on_uniform_tokens_finds_a_leak() -> None:
    """The check above fails for a model that sees what follows."""
    config = _config(vocab_size=16, num_hidden_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SentinelForCausalLM(config)
    for layer in model.model.layers:
        layer.mixer.is_bidirectional = True
        # its features of the position itself, shifted: the next token shows
        layer.mixer.register_forward_hook(lambda _, __, output: output.roll(-1, 1))
    loss, error = _held_out_loss(model, 150)
    assert loss < math.log(16) - 4 * error
