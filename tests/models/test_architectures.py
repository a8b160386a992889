"""Architectures to train from scratch, and the tiny models that tests use."""

import pytest
import torch
from hypothesis import given, strategies

from sentinel_research.errors import UsageError
from sentinel_research.models.architectures import build
from sentinel_research.models.tiny import FAMILIES, RECURRENT, byte_tokenizer, tiny_model
from sentinel_research.registry import get, names

_COMMON = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 24}
_GROUPED = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 17}
SMALL = {
    "gpt2": {"n_layer": 2, "n_head": 3, "n_embd": 21, "n_positions": 16},
    "opt": {**_COMMON, "ffn_dim": 17, "max_position_embeddings": 16},
    "bloom": {"n_layer": 2, "n_head": 3, "hidden_size": 21},
    "gpt_neox": {**_COMMON, "intermediate_size": 17},
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": 8},
    "qwen2": _GROUPED,
    "mamba": {"num_hidden_layers": 2, "hidden_size": 12},
    "mamba2": {"num_hidden_layers": 2, "hidden_size": 12, "num_heads": 6, "head_dim": 4},
    "sentinel": {**_GROUPED, "mixers": ["resolvent", "attention"]},
}


def test_every_family_that_can_be_pruned_can_be_trained() -> None:
    assert set(SMALL) == {*FAMILIES, *RECURRENT} == set(names("architectures"))


@pytest.mark.parametrize("name", SMALL)
def test_architecture_takes_vocabulary_and_special_tokens_from_the_tokenizer(name: str) -> None:
    tokenizer = byte_tokenizer()
    model = get("architectures", name)(SMALL[name], tokenizer)
    assert model.config.model_type == name
    assert model.config.vocab_size == len(tokenizer) == 259
    assert model.config.bos_token_id == tokenizer.bos_token_id
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model.config.num_hidden_layers == 2
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_builds_the_same_model_and_leaves_global_randomness(name: str) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build(name, SMALL[name], byte_tokenizer(), seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [model.get_input_embeddings().weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_gpt2_accepts_the_common_names_too() -> None:
    config = {"num_hidden_layers": 2, "num_attention_heads": 3, "hidden_size": 21}
    assert build("gpt2", config, byte_tokenizer(), seed=0).config.n_embd == 21


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("gpt2", {"n_heads": 3}, "unknown gpt2 config key 'n_heads'"),
        ("llama", {"num_layers": 2}, "unknown llama config key 'num_layers'"),
        ("llama", {"vocab_size": 100}, "`vocab_size` comes from the tokenizer"),
        ("gpt2", {"n_head": 5, "n_embd": 32}, "gpt2 config does not work"),
        ("llama", {"num_attention_heads": 3, "hidden_size": 32}, "llama config does not work"),
        ("llama", {"hidden_size": "wide"}, "llama config does not work"),
        ("mamba", {"d_model": 12}, "unknown mamba config key 'd_model'"),
        ("mamba2", {"hidden_size": 12}, "mamba2 config does not work"),
    ],
    ids=[
        "gpt2_key",
        "llama_key",
        "vocabulary",
        "gpt2_heads",
        "llama_heads",
        "type",
        "mamba_key",
        "mamba2_heads",
    ],
)
def test_config_that_cannot_work_is_refused(
    name: str, config: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, config, byte_tokenizer(), seed=0)


def test_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        build("gpt2", {"n_heads": 3}, byte_tokenizer(), seed=0)
    assert "Did you mean 'n_head'?" in caught.value.hint


@given(text=strategies.text(strategies.characters(exclude_categories=["Cs"])))
def test_byte_tokenizer_gives_every_text_back(text: str) -> None:
    tokenizer = _tokenizer
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    if not any(special in text for special in ("<bos>", "<eos>", "<pad>")):
        assert len(ids) == len(text.encode())


_tokenizer = byte_tokenizer()


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_tiny_model_is_seeded_and_random_everywhere(family: str) -> None:
    one, same, other = (tiny_model(family, seed=seed) for seed in (1, 1, 2))
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        assert a.unique().numel() > 0.9 * a.numel()


def test_tiny_model_of_an_unknown_family_is_refused() -> None:
    with pytest.raises(UsageError, match="no tiny model of family 'gpt3'"):
        tiny_model("gpt3")
