"""Equal size by construction: solved, measured on what is built, and refused with what is near."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies
from torch.utils.flop_counter import flop_registry
from transformers import (
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)

from sentinel_research import registry
from sentinel_research.data.byte_level import byte_tokenizer
from sentinel_research.errors import UsageError
from sentinel_research.models import build
from sentinel_research.models.agency import add_agency
from sentinel_research.models.architectures import _untrained
from sentinel_research.models.flops import training_flops
from sentinel_research.models.matching import match, num_non_embedding
from sentinel_research.models.tiny import tiny_model
from sentinel_research.specs import AgencySpec, ArchitectureSpec, MatchSpec, StatePolicy

LENGTH = 16
_GROUPED = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
TEMPLATES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": LENGTH},
    "opt": {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "ffn_dim": 256},
    "bloom": {"n_layer": 2, "n_head": 2, "hidden_size": 64},
    "gpt_neox": {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64,
                 "intermediate_size": 256},
    "llama": {**_GROUPED, "hidden_size": 64, "intermediate_size": 172},
    "mistral": {**_GROUPED, "hidden_size": 64, "intermediate_size": 172},
    "qwen2": {**_GROUPED, "hidden_size": 64, "intermediate_size": 172},
    "mamba": {"num_hidden_layers": 2, "hidden_size": 64},
    "mamba2": {"num_hidden_layers": 2, "hidden_size": 64, "head_dim": 16, "num_heads": 8,
               "n_groups": 1, "state_size": 32, "chunk_size": LENGTH},
}  # fmt: skip
MAMBAS: dict[str, Any] = {
    "mamba": (MambaConfig, MambaForCausalLM),
    "mamba2": (Mamba2Config, Mamba2ForCausalLM),
}


@pytest.fixture(autouse=True)
def _mambas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers' own Mamba classes, as architectures of these names would build them."""
    original = registry.get

    def get(group: str, name: str) -> Any:
        if name not in MAMBAS:
            return original(group, name)
        return lambda config, tokenizer: _untrained(*MAMBAS[name], config, tokenizer)

    monkeypatch.setattr("sentinel_research.models.architectures.get", get)


def _spec(name: str, **changes: Any) -> ArchitectureSpec:
    return ArchitectureSpec(architecture=name, config={**TEMPLATES[name], **changes})


def _built(name: str, config: dict[str, Any]) -> PreTrainedModel:
    return build(name, config, byte_tokenizer(), seed=0)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, "parameters") for name in TEMPLATES if name != "bloom"),
        *((name, "flops") for name in ("gpt2", "llama", "mamba2")),
    ],
)
@pytest.mark.long
def test_width_is_solved_within_one_percent_of_what_is_built(name: str, what: str) -> None:
    target = 150_000 if what == "parameters" else 1_300_000
    wanted = MatchSpec(what=what, target=target)
    found = match(_spec(name), byte_tokenizer(), wanted, LENGTH)
    model = _built(name, found.config)
    reached = (
        num_non_embedding(model)
        if what == "parameters"
        else training_flops(model, LENGTH).per_token
    )
    assert abs(reached / target - 1) <= 0.01
    assert found.deviation == pytest.approx(reached / target - 1, abs=1e-12)
    assert found.num_non_embedding == num_non_embedding(model)
    assert found.num_parameters == model.num_parameters()
    heads = getattr(model.config, "num_attention_heads", None)
    assert heads == TEMPLATES[name].get("num_attention_heads", TEMPLATES[name].get("n_head"))
    assert model.config.num_hidden_layers == 2


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2"])
def test_depth_is_solved_with_the_width_as_it_is(name: str) -> None:
    wanted = MatchSpec(what="parameters", target=220_000, vary="depth")
    found = match(_spec(name), byte_tokenizer(), wanted, LENGTH)
    model = _built(name, found.config)
    assert model.config.hidden_size == 64
    assert abs(num_non_embedding(model) / 220_000 - 1) <= 0.01


@settings(max_examples=5)
@given(target=strategies.integers(20_000, 3_000_000))
def test_every_reachable_target_keeps_the_proportions_of_a_transformer(target: int) -> None:
    found = match(_spec("llama"), byte_tokenizer(), MatchSpec(what="parameters", target=target), 4)
    assert abs(found.deviation) <= 0.01
    # a step of 8 in a width of 24 or more moves the second knob by less than its own size
    ratio = found.config["intermediate_size"] / found.config["hidden_size"]
    assert 0.3 < ratio / (172 / 64) < 3


def test_embeddings_positions_and_head_are_not_counted() -> None:
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}
    tied = _built("gpt2", {**small, "n_positions": 32})
    longer = _built("gpt2", {**small, "n_positions": 64})
    # 12 h^2 weights, 13 h biases and norms, and 2 h of the last norm
    assert num_non_embedding(tied) == num_non_embedding(longer) == 12 * 64 + 13 * 8 + 2 * 8
    untied = _built("llama", {**small, "intermediate_size": 8, "tie_word_embeddings": False})
    other = _built("llama", {**small, "intermediate_size": 8, "tie_word_embeddings": True})
    assert num_non_embedding(untied) == num_non_embedding(other)


def test_family_without_a_second_knob_is_refused_with_the_nearest_values() -> None:
    with pytest.raises(UsageError, match="'bloom' cannot have 150,000 non-embedding") as caught:
        match(
            _spec("bloom"), byte_tokenizer(), MatchSpec(what="parameters", target=150_000), LENGTH
        )
    numbers = [
        int(word.replace(",", ""))
        for word in caught.value.message.split("the nearest are ")[1].split()
        if word.replace(",", "").isdigit() and len(word) > 4
    ]
    for number in numbers:
        found = match(
            _spec("bloom"), byte_tokenizer(), MatchSpec(what="parameters", target=number), LENGTH
        )
        assert found.deviation == 0.0
    assert len(numbers) == 2
    assert min(numbers) < 150_000 < max(numbers)


def test_target_below_the_smallest_model_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot have 10 non-embedding parameters"):
        match(_spec("gpt2"), byte_tokenizer(), MatchSpec(what="parameters", target=10), LENGTH)


@pytest.mark.parametrize(
    ("agency", "added"),
    [
        # for each of 2 layers 4 gates, and 64 weights of each in the second
        ({"gate": "static"}, 2 * 4),
        ({"gate": "input"}, 2 * 4 * 65),
        # one pair of layers, [64, 128]
        ({"gate": None, "skips": True}, 64 * 128),
    ],
    ids=["static", "input", "skips"],
)
def test_everything_that_agency_adds_counts(agency: dict[str, Any], added: int) -> None:
    plain = match(_spec("gpt2"), byte_tokenizer(), None, LENGTH)
    spec = _spec("gpt2").model_copy(update={"agency": AgencySpec.model_validate(agency)})
    gated = match(spec, byte_tokenizer(), None, LENGTH)
    assert gated.num_non_embedding == plain.num_non_embedding + added
    assert gated.num_parameters == plain.num_parameters + added
    assert (plain.agency, plain.num_frozen, gated.num_frozen) == (None, 0, 0)
    assert AgencySpec.model_validate(gated.agency) == spec.agency


def test_frozen_baseline_counts_and_is_told_apart() -> None:
    plain = match(_spec("gpt2"), byte_tokenizer(), None, LENGTH)
    agency = AgencySpec(gate=None, baseline="compare:plain")
    spec = _spec("gpt2").model_copy(update={"agency": agency})
    found = match(spec, byte_tokenizer(), None, LENGTH, _built("gpt2", plain.config))
    assert found.num_frozen == plain.num_non_embedding
    # one layer of two is the upper half
    assert found.num_non_embedding == 2 * plain.num_non_embedding + 64 * 64
    # the frozen blocks go forward only, and have no head
    assert plain.flops_per_token < found.flops_per_token < 2 * plain.flops_per_token


@pytest.mark.parametrize("what", ["parameters", "flops"])
@pytest.mark.long
def test_width_is_solved_with_agency_in_the_count(what: Any) -> None:
    target = 150_000 if what == "parameters" else 1_300_000
    agency = AgencySpec(gate="input", policy=StatePolicy(), skips=True)
    spec = _spec("gpt2").model_copy(update={"agency": agency})
    wanted = MatchSpec(what=what, target=target)
    found = match(spec, byte_tokenizer(), wanted, LENGTH)
    model = add_agency(_built("gpt2", found.config), agency)
    count = num_non_embedding(model)
    reached = count if what == "parameters" else training_flops(model, LENGTH).per_token
    assert abs(reached / target - 1) <= 0.01


def test_without_a_target_the_configuration_is_measured_as_it_is() -> None:
    found = match(_spec("llama"), byte_tokenizer(), None, LENGTH)
    assert found.config == TEMPLATES["llama"]
    assert found.deviation == 0.0
    assert found.num_non_embedding == num_non_embedding(_built("llama", found.config))


def test_proportions_are_the_familys_where_the_configuration_leaves_them_open() -> None:
    spec = ArchitectureSpec(
        architecture="llama",
        config={"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64},
    )
    found = match(spec, byte_tokenizer(), MatchSpec(what="parameters", target=300_000), LENGTH)
    # transformers' LLaMA: 11008 / 4096
    ratio = found.config["intermediate_size"] / found.config["hidden_size"]
    assert ratio == pytest.approx(11008 / 4096, rel=0.3)


def test_counting_operations_leaves_model_buffers_and_randomness_alone() -> None:
    model = _built("gpt2", TEMPLATES["gpt2"]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    flops = training_flops(model, LENGTH)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert math.isclose(flops.per_token * LENGTH, flops.forward + flops.backward)


def test_operator_that_registers_its_formula_when_it_first_runs_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("mamba")
    expected = training_flops(model, LENGTH)
    operator = torch.ops.sentinel.selective_scan
    formula = flop_registry[operator]
    monkeypatch.delitem(flop_registry, operator)

    def register(*_: object) -> None:
        monkeypatch.setitem(flop_registry, operator, formula)

    model.register_forward_pre_hook(register)
    assert training_flops(model, LENGTH) == expected
