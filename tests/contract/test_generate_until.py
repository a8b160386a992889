"""Texts that tasks ask for are those that transformers' `generate` writes for each prompt alone."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PhiConfig, PhiForCausalLM, PreTrainedModel

from sentinel_research.errors import DataError, UsageError
from sentinel_research.evaluation.writing.answers import CONTINUOUS
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import FAMILIES, RECURRENT, VOCAB_SIZE, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.specs import AgencySpec, PruneSpec
from tests.contract.texts import (
    EOS,
    LENGTH,
    adapter,
    distinct_requests,
    legible,
    mixed,
    passes_of,
    some_prompts,
    stock,
    texts_asked,
)
from tests.models.agency import disturb


def _assert_as_alone(model: PreTrainedModel, requests: list[Instance], *sizes: int) -> None:
    expected = stock(model, requests)
    for batch_size in sizes:
        lm = adapter(model, batch_size)
        assert lm.generate_until(requests) == expected
        assert lm.get_model_info()["sentinel_answered_by"] == {CONTINUOUS: len(requests)}


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_text_is_the_one_written_for_the_prompt_alone_in_every_family(family: str) -> None:
    _assert_as_alone(tiny_model(family), mixed(), 1, 3, 8)


def test_texts_of_the_law_stop_at_different_steps() -> None:
    """Or the law would say little."""
    texts = stock(tiny_model("llama"), texts_asked(some_prompts(), max_gen_toks=16))
    lengths = {len(legible().encode(text)) for text in texts}
    assert len(lengths) >= 4


@pytest.mark.parametrize("form", ["remove", "mask"])
@pytest.mark.parametrize("family", FAMILIES)
def test_text_of_a_pruned_model_is_the_one_written_alone(family: str, form: Any) -> None:
    spec = PruneSpec(
        scorer="random", fraction=0.4, granularity=("head", "neuron"), form=form, seed=3
    )
    _assert_as_alone(prune(tiny_model(family), spec).model, mixed(), 3)


def test_layer_without_heads_counts_the_columns_of_rows_that_join() -> None:
    spec = PruneSpec(scorer="random", fraction=0.8, granularity=("head",), seed=0)
    model = prune(tiny_model("llama"), spec).model
    _assert_as_alone(model, mixed(), 3)


@pytest.mark.parametrize("gate", ["static", "input", "hard_concrete"])
@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_text_of_a_model_with_agency_is_the_one_written_alone(family: str, gate: Any) -> None:
    model = disturb(add_agency(tiny_model(family), AgencySpec(gate=gate)))
    _assert_as_alone(model, mixed(), 3)


def test_model_with_a_frozen_baseline_writes_as_alone() -> None:
    spec = AgencySpec.model_validate({"gate": "static", "skips": True, "baseline": "other"})
    model = add_agency(tiny_model("llama"), spec, baseline=tiny_model("llama", seed=1))
    _assert_as_alone(disturb(model), mixed(), 3)


@given(
    prompts=strategies.lists(strategies.text("abc \n?", min_size=1, max_size=50), min_size=1),
    until=strategies.lists(strategies.text("abc \n", min_size=1, max_size=3), max_size=3),
    max_gen_toks=strategies.integers(1, 12),
    batch_size=strategies.sampled_from([1, 3, 8]),
)
@settings(deadline=None, max_examples=30)
@pytest.mark.long
def test_text_of_any_request_is_the_one_written_alone(
    prompts: list[str], until: list[str], max_gen_toks: int, batch_size: int
) -> None:
    model = tiny_model("gpt2", n_positions=LENGTH)
    _assert_as_alone(
        model, texts_asked(prompts, until=until, max_gen_toks=max_gen_toks), batch_size
    )


def test_end_tokens_of_the_checkpoint_end_a_text() -> None:
    model = tiny_model("gpt2")
    ids = torch.tensor([legible().encode("abc")])
    alone = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6)
    third = int(alone[0, ids.shape[1] + 2])
    model.generation_config.eos_token_id = [EOS, third]
    requests = texts_asked(["abc", *some_prompts()], until=[], max_gen_toks=16)
    texts = stock(model, requests)
    assert len(texts[0]) < len(legible().decode(alone[0, ids.shape[1] :]))
    _assert_as_alone(model, requests, 3)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("repetition_penalty", 1.5, "RepetitionPenaltyLogitsProcessor"),
        ("num_beams", 2, "beam_search"),
        ("max_time", 100.0, "MaxTimeCriteria"),
    ],
)
def test_what_the_checkpoints_generation_configuration_asks_for_is_done_by_transformers(
    name: str, value: Any, reason: str
) -> None:
    model = tiny_model("gpt2")
    requests = texts_asked(some_prompts(), max_gen_toks=6)
    plain = stock(model, requests)
    setattr(model.generation_config, name, value)
    lm = adapter(model)
    found = lm.generate_until(requests)
    assert found == stock(model, requests)
    assert (found == plain) == (name == "max_time")
    (way,) = lm.get_model_info()["sentinel_answered_by"]
    assert way == f"transformers' generate: {reason} is asked for"


def test_checkpoint_that_samples_by_default_is_greedy_where_the_request_is() -> None:
    model = tiny_model("gpt2")
    requests = texts_asked(some_prompts(), max_gen_toks=6)
    plain = stock(model, requests)
    model.generation_config.update(do_sample=True, temperature=5.0)
    assert adapter(model).generate_until(requests) == plain == stock(model, requests)


def test_samples_are_those_of_stock_with_the_same_seed() -> None:
    model = tiny_model("llama")
    options = {"do_sample": True, "temperature": 1.5, "top_k": 50, "top_p": 0.9}
    requests = texts_asked(some_prompts(), max_gen_toks=6, **options)
    lm, found = adapter(model, 3), []
    for write in (lm.generate_until, lambda asked: stock(model, asked, 3)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            found.append(write(requests))
    assert found[0] == found[1]
    assert list(lm.get_model_info()["sentinel_answered_by"]) == [
        "transformers' generate: sample is asked for"
    ]


def test_family_that_nobody_looked_at_is_written_by_transformers() -> None:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PhiForCausalLM(PhiConfig(vocab_size=VOCAB_SIZE, intermediate_size=16, **sizes))
    requests = texts_asked(some_prompts(), max_gen_toks=6)
    lm = adapter(model.eval())
    assert lm.generate_until(requests) == stock(model, requests)
    (way,) = lm.get_model_info()["sentinel_answered_by"]
    assert "family phi is not known" in way


@pytest.mark.parametrize("kind", ["text", "token"])
def test_thoughts_are_left_out_as_by_stock(kind: str) -> None:
    model = tiny_model("llama")
    requests = texts_asked(some_prompts(), until=["zz"], max_gen_toks=16)
    ids = torch.tensor([legible().encode(requests[3].args[0])])[:, 16 - LENGTH :]
    alone = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6)
    token = int(alone[0, -1])
    end = {"think_end_token": legible().decode(token) if kind == "text" else token}
    plain = adapter(model).generate_until(requests)
    stock = HFLM(model, tokenizer=legible(), batch_size=1, max_length=LENGTH, **end)
    found = adapter(model, **end).generate_until(requests)
    assert found == stock.generate_until(requests, disable_tqdm=True)
    # more than the space that lm-eval strips in any case
    assert len(found[3]) < len(plain[3].lstrip())


def _num_steps(passes: list[tuple[int, int]]) -> int:
    """Tokens decoded behind a cache, in all rows."""
    return sum(rows for rows, length in passes if length == 1)


def test_rows_that_have_stopped_leave_and_waiting_ones_take_their_places() -> None:
    model, requests = tiny_model("mamba2"), distinct_requests()
    lm = adapter(model, 8)
    passes = passes_of(model, lambda: lm.generate_until(requests))
    assert max(rows for rows, _ in passes) == 8
    # rows that were there before go on beside those that have just been read
    assert any(
        length > 1 == next_length and next_rows > rows
        for (rows, length), (next_rows, next_length) in itertools.pairwise(passes)
    )


@pytest.mark.parametrize("family", ["llama", "mamba2"])
def test_no_row_decodes_a_token_more_than_alone(family: str) -> None:
    model, requests = tiny_model(family), distinct_requests()
    ours = passes_of(model, lambda: adapter(model, 8).generate_until(requests))
    alone = passes_of(model, lambda: stock(model, requests))
    assert _num_steps(ours) == _num_steps(alone)
    # stock goes on until the last row of a batch has stopped
    assert _num_steps(ours) < 0.75 * _num_steps(passes_of(model, lambda: stock(model, requests, 8)))


def test_phrase_that_spans_tokens_ends_a_row_where_it_is_complete() -> None:
    model, prompt = tiny_model("llama"), "abc?"
    ids = torch.tensor([legible().encode(prompt)])
    alone = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12)
    third, fourth = (legible().decode(token) for token in alone[0, ids.shape[1] + 2 :][:2])
    requests = texts_asked([prompt], until=[third + fourth], max_gen_toks=12)
    passes = passes_of(model, lambda: adapter(model).generate_until(requests))
    # the first new token comes from reading the prompt
    assert passes == [(1, ids.shape[1]), (1, 1), (1, 1), (1, 1)]


def test_equal_prompts_are_written_once() -> None:
    model = tiny_model("gpt2")
    requests = texts_asked(["abc", "ab", "abc", "abc"], max_gen_toks=4, until=[])
    passes = passes_of(model, lambda: adapter(model, 8).generate_until(requests))
    assert {rows for rows, _ in passes} == {2}


def test_prompts_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = adapter(tiny_model("gpt2"), 8)
    requests, encoded = texts_asked(some_prompts(), max_gen_toks=4), []
    encode = lm.tok_batch_encode

    def note(texts: list[str], **options: Any) -> Any:
        encoded.extend(texts)
        return encode(texts, **options)

    monkeypatch.setattr(lm, "tok_batch_encode", note)
    monkeypatch.setattr(lm, "tok_encode", lambda *_: pytest.fail("encoded again"))
    lm.generate_until(requests)
    assert encoded == some_prompts()


def test_every_text_is_told_to_lm_evals_cache_with_its_request() -> None:
    lm, told = adapter(tiny_model("gpt2")), []

    class Hook:
        def add_partial(self, *args: Any) -> None:
            told.append(args)

    lm.cache_hook = Hook()
    requests = texts_asked(["abc", "b", "abc"], max_gen_toks=4)
    texts = lm.generate_until(requests)
    expected = [
        ("generate_until", one.args, text) for one, text in zip(requests, texts, strict=True)
    ]
    # in the order in which they are finished
    assert sorted(told, key=repr) == sorted(expected, key=repr)


@pytest.mark.parametrize("lacks", ["generate", "cache"])
def test_model_that_cannot_write_is_refused_by_name(
    lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("gpt2")
    lm = adapter(model)
    if lacks == "generate":
        monkeypatch.setattr(model, "can_generate", lambda: False)
    else:
        monkeypatch.setattr(model, "forward", lambda input_ids: input_ids)
    with pytest.raises(UsageError, match="GPT2LMHeadModel cannot write texts"):
        lm.generate_until(texts_asked(["abc"], max_gen_toks=4))


def test_answer_that_leaves_no_room_for_its_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="max_gen_toks = 40 leaves no room"):
        adapter(tiny_model("gpt2")).generate_until(texts_asked(["abc"], max_gen_toks=LENGTH))


def test_prompt_without_a_token_is_refused() -> None:
    with pytest.raises(DataError, match="the prompt '' has no token"):
        adapter(tiny_model("gpt2")).generate_until(texts_asked(["abc", ""], max_gen_toks=4))
