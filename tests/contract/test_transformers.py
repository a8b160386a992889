"""What transformers asks of its own models, asked of ours, for every mixer."""

import copy
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TextGenerationPipeline
from transformers.generation import CompileConfig, GenerateDecoderOnlyOutput

from sentinel_research.models.sentinel import SentinelConfig, SentinelForCausalLM
from sentinel_research.models.tiny import byte_tokenizer, tiny_model

VOCAB_SIZE = 61
ROLLED_BACK: dict[str, dict[str, Any]] = {
    "attention": {"mixers": "attention"},
    "static": {"mixers": "agency", "agency": {"gate": "static"}},
    "input": {"mixers": "agency", "agency": {"gate": "input"}},
    "hard_concrete": {"mixers": "agency", "agency": {"gate": "hard_concrete"}},
}
RECURRENT: dict[str, dict[str, Any]] = {
    "resolvent": {"mixers": "resolvent"},
    "no-convolution": {"mixers": "resolvent", "resolvent_conv_kernel": 0},
    "hybrid": {"mixers": ["resolvent", "attention"]},
    "attention-first": {"mixers": ["agency", "resolvent"]},
}
EVERY = {**ROLLED_BACK, **RECURRENT}
every_mixer = pytest.mark.parametrize("options", EVERY.values(), ids=EVERY)
rolled_back = pytest.mark.parametrize("options", ROLLED_BACK.values(), ids=ROLLED_BACK)
recurrent = pytest.mark.parametrize("options", RECURRENT.values(), ids=RECURRENT)
with_attention = pytest.mark.parametrize(
    "options", [EVERY[name] for name in ("attention", "input", "hybrid")], ids=str
)
GREEDY = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}


def _config(options: dict[str, Any]) -> SentinelConfig:
    return SentinelConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=24,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        **options,
    )


def _model(options: dict[str, Any], *, seed: int = 0) -> SentinelForCausalLM:
    """Random, with gates away from rest and weights large enough for every part to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SentinelForCausalLM(_config(options))
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "head_gate" in name:
                nn.init.normal_(parameter, std=0.15)
    return model.eval()


def _tokens(batch: int = 2, length: int = 9, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB_SIZE, (batch, length), generator=generator)


def _logits(model: nn.Module, tokens: Tensor, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens, **kwargs).logits
    return logits


def _close(actual: Tensor, expected: Tensor) -> None:
    # float32 through two blocks, whose rounding a resonance of up to 200 positions multiplies
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-4 * expected.abs().max().item())


@pytest.fixture
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    "name", ["input", "hard_concrete", "resolvent", "no-convolution", "attention-first"]
)
@pytest.mark.usefixtures("_nothing_compiled")
@pytest.mark.long
def test_decoding_with_a_static_cache_is_compiled_once_without_a_graph_break(name: str) -> None:
    """For other tokens and for fewer of them too."""
    graphs: list[torch.fx.GraphModule] = []
    model = _model(EVERY[name])

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    compilation = CompileConfig(fullgraph=True, dynamic=False, backend=keep, mode="default")
    # else `generate` compiles on accelerators only
    compilation._compile_all_devices = True
    for tokens, length in ((_tokens(), 6), (_tokens(seed=1), 6), (_tokens(seed=2), 3)):
        lengths = {"max_new_tokens": length, "min_new_tokens": length, "do_sample": False}
        found = model.generate(
            tokens, **lengths, cache_implementation="static", compile_config=compilation
        )
        assert torch.equal(found, model.generate(tokens, **lengths))
    assert len(graphs) == 1


@rolled_back
def test_decoding_with_an_assistant_or_the_prompt_equals_greedy(options: dict[str, Any]) -> None:
    model, tokens = _model(options), _tokens(1)
    expected = model.generate(tokens, **GREEDY)
    for assistant in (_model(options, seed=1), copy.deepcopy(model)):
        assert torch.equal(model.generate(tokens, assistant_model=assistant, **GREEDY), expected)
    assert torch.equal(model.generate(tokens, prompt_lookup_num_tokens=2, **GREEDY), expected)


@recurrent
def test_recurrent_model_refuses_decoding_that_takes_tokens_back(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stateful"):
        _model(options).generate(_tokens(1), prompt_lookup_num_tokens=2, **GREEDY)


@every_mixer
def test_cache_that_a_generation_returns_continues_it(options: dict[str, Any]) -> None:
    model, tokens = _model(options), _tokens()
    expected = model.generate(tokens, use_cache=False, **GREEDY)
    halves = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    first = model.generate(tokens, return_dict_in_generate=True, **halves)
    found = model.generate(first.sequences, past_key_values=first.past_key_values, **halves)
    assert torch.equal(found, expected)


@every_mixer
def test_generation_reports_what_happened_at_every_step(options: dict[str, Any]) -> None:
    model = _model(options)
    model.set_attn_implementation("eager")
    found = model.generate(
        _tokens(2, 9),
        return_dict_in_generate=True,
        output_logits=True,
        output_hidden_states=True,
        output_attentions=True,
        **GREEDY,
    )
    assert isinstance(found, GenerateDecoderOnlyOutput)
    assert [one.shape for one in found.logits] == [(2, VOCAB_SIZE)] * 6
    lengths = [9, 1, 1, 1, 1, 1]
    for length, states in zip(lengths, found.hidden_states, strict=True):
        assert [one.shape for one in states] == [(2, length, 24)] * 3
    num_layers = sum(mixer != "resolvent" for mixer in model.config.mixers)
    for step, (length, layers) in enumerate(zip(lengths, found.attentions, strict=True)):
        assert [one.shape for one in layers] == [(2, 4, length, 9 + step)] * num_layers


@with_attention
def test_attention_can_be_computed_otherwise_in_a_built_model(options: dict[str, Any]) -> None:
    model = _model(options)
    expected = _logits(model, _tokens())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(_tokens(), output_attentions=True)
    _close(found.logits, expected)
    for attention in found.attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, 4, 9))


@rolled_back
def test_sequences_packed_into_one_are_kept_apart_by_their_positions(
    options: dict[str, Any],
) -> None:
    model, one, other = _model(options), _tokens(1, 5), _tokens(1, 7, seed=1)
    positions = torch.cat([torch.arange(5), torch.arange(7)])[None]
    found = _logits(model, torch.cat([one, other], 1), position_ids=positions, use_cache=False)
    _close(found[:, :5], _logits(model, one))
    _close(found[:, 5:], _logits(model, other))


@rolled_back
def test_mask_of_pairs_lets_branches_share_a_prefix(options: dict[str, Any]) -> None:
    """Three continuations by one token each, side by side in one sequence."""
    model, prefix, ends = _model(options), _tokens(1, 3), torch.tensor([7, 8, 9])
    visible = torch.tril(torch.ones(6, 6))
    visible[3:, 3:] = torch.eye(3)
    mask = (1 - visible)[None, None] * torch.finfo(torch.float32).min
    positions = torch.tensor([[0, 1, 2, 3, 3, 3]])
    joined = torch.cat([prefix, ends[None]], 1)
    found = _logits(model, joined, attention_mask=mask, position_ids=positions)[0, 3:]
    apart = torch.cat([prefix.expand(3, 3), ends[:, None]], 1)
    _close(found, _logits(model, apart)[:, -1])


@every_mixer
def test_last_logits_alone_are_the_last_of_all(options: dict[str, Any]) -> None:
    model = _model(options)
    found = _logits(model, _tokens(), logits_to_keep=1)
    # one matrix product has another shape
    torch.testing.assert_close(found, _logits(model, _tokens())[:, -1:])


def test_forward_declares_what_transformers_passes_on() -> None:
    """Tools ask the signature whether attentions can be returned."""
    declared = inspect.signature(SentinelForCausalLM.forward).parameters["kwargs"].annotation
    assert "output_attentions" in declared.__args__[0].__annotations__


@pytest.mark.parametrize("gate", ["static", "input", "hard_concrete"])
def test_checkpoint_without_gates_is_loaded_with_gates_at_rest(gate: str, tmp_path: Path) -> None:
    plain = _model(EVERY["attention"])
    plain.save_pretrained(tmp_path)
    gated = SentinelForCausalLM.from_pretrained(tmp_path, config=_config(EVERY[gate])).eval()
    assert torch.equal(_logits(gated, _tokens()), _logits(plain, _tokens()))


@every_mixer
def test_embedding_of_another_size_is_refused_or_made_anew(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = _model(options)
    model.save_pretrained(tmp_path)
    sizes = {"vocab_size": VOCAB_SIZE + 4}
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        SentinelForCausalLM.from_pretrained(tmp_path, **sizes)
    other = SentinelForCausalLM.from_pretrained(tmp_path, **sizes, ignore_mismatched_sizes=True)
    assert other.get_input_embeddings().weight.shape == (VOCAB_SIZE + 4, 24)
    assert other.get_output_embeddings().weight is other.get_input_embeddings().weight
    state, changed = model.state_dict(), ("embed_tokens.weight", "lm_head.weight")
    for name, one in other.state_dict().items():
        assert one.isfinite().all(), name
        assert name.endswith(changed) or torch.equal(one, state[name]), name


@pytest.mark.parametrize("name", ["input", "hybrid"])
def test_exported_program_gives_the_logits_of_the_model(name: str) -> None:
    model, tokens = _model(EVERY[name]), _tokens()
    arguments = {"input_ids": tokens, "use_cache": False}
    with torch.no_grad():
        program = torch.export.export(model, (), arguments, strict=False)
        found = program.module()(**arguments).logits
    _close(found, _logits(model, tokens))


@pytest.mark.parametrize("name", ["hard_concrete", "hybrid"])
def test_pattern_is_learned_by_heart_and_recited(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SentinelForCausalLM(_config(EVERY[name])).train()
        pattern = torch.arange(3, 15).repeat(3)[None]
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(120):
            loss = model(pattern, labels=pattern).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    assert loss.item() < 0.1 * torch.log(torch.tensor(VOCAB_SIZE)).item()
    model.eval()
    found = model.generate(pattern[:, :13], max_new_tokens=23, do_sample=False)
    assert torch.equal(found, pattern)


def test_pipeline_writes_text() -> None:
    model = tiny_model("sentinel", mixers=["resolvent", "agency", "attention"])
    write = TextGenerationPipeline(model=model, tokenizer=byte_tokenizer(), device="cpu")
    (answer,) = write("To be", max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert answer["generated_text"].startswith("To be")
