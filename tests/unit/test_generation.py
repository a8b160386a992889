"""Written text: what counts, what the noise depends on, what is timed, and what is refused."""

import copy
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from scipy import stats

from sentinel_research.data.byte_level import NUM_BYTES, byte_tokenizer
from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.defined import define_corpora
from sentinel_research.data.held_out_prompts import held_out_prompts
from sentinel_research.errors import DataError, SentinelError, UsageError
from sentinel_research.evaluation.continuations import (
    end_tokens,
    generate,
    until_end,
    write_continuations,
)
from sentinel_research.evaluation.generation import CONTINUATIONS_FILE, evaluate_generation
from sentinel_research.evaluation.generation_speed import measure_speed
from sentinel_research.evaluation.limits import check_generation
from sentinel_research.models.ngram import NgramCounts, NgramForCausalLM
from sentinel_research.models.tiny import VOCAB_SIZE, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.specs import CorpusSpec, EvalSpec, GenerationSpec, PruneSpec

BOS, EOS = NUM_BYTES, NUM_BYTES + 1
# attention with positions, rotary attention, and three kinds of states
MODELS = ("gpt2", "llama", "mamba", "mamba2", "sentinel")


def _spec(**changes: Any) -> GenerationSpec:
    given = {"corpus": "synthetic", "num_prompts": 5, "prompt_tokens": 8, "max_new_tokens": 12}
    return GenerationSpec(**{**given, **changes})


def _prompts(number: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, NUM_BYTES, (number, 8))


def _write(model: Any, spec: GenerationSpec, batch_size: int = 64) -> list[list[list[int]]]:
    return write_continuations(model, _prompts(), spec, {BOS, EOS}, batch_size)


def _follow(model: Any, successors: dict[int, int]) -> Any:
    """Make a model write after each token the one that is said to follow it."""
    table = torch.arange(VOCAB_SIZE)
    for token, successor in successors.items():
        table[token] = successor

    def replace(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        ids = kwargs["input_ids"][:, -output.logits.shape[1] :]
        output.logits = torch.nn.functional.one_hot(table[ids], VOCAB_SIZE).float()
        return output

    model.register_forward_hook(replace, with_kwargs=True)
    return model


@pytest.mark.parametrize("family", MODELS)
def test_batch_size_changes_no_text(family: str) -> None:
    model, spec = tiny_model(family), _spec(num_samples=3)
    expected = _write(model, spec)
    assert [len(group) for group in expected] == [3] * 5
    # no two prompts and no two samples have the same noise
    assert len({tuple(ids) for group in expected for ids in group}) == 15
    for batch_size in (1, 4):
        assert _write(model, spec, batch_size) == expected


def test_same_seed_gives_the_same_texts_and_another_one_others() -> None:
    model = tiny_model("llama")
    torch.manual_seed(1)
    first = _write(model, _spec(seed=3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert _write(model, _spec(seed=3)) == first
    assert _write(model, _spec(seed=4)) != first
    # and nobody else's randomness is touched
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", MODELS)
def test_text_is_that_of_full_passes_over_everything_before(family: str) -> None:
    """Caches and states change nothing, for likeliest tokens and for drawn ones."""
    model, prompts = tiny_model(family), torch.from_numpy(_prompts(1))
    greedy, drawn = prompts, prompts
    seed = int(np.random.SeedSequence((7, 0, 0)).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(12):
            chosen = model(greedy, use_cache=False).logits[:, -1].argmax(-1)
            greedy = torch.cat([greedy, chosen[:, None]], 1)
            logits = model(drawn, use_cache=False).logits[:, -1].double() / 0.7
            waits = torch.zeros(VOCAB_SIZE, dtype=torch.float64).exponential_(generator=generator)
            chosen = (logits.softmax(-1) / waits).argmax(-1)
            drawn = torch.cat([drawn, chosen[:, None]], 1)
    for spec, expected in (
        (_spec(temperature=0), greedy),
        (_spec(temperature=0.7, seed=7), drawn),
    ):
        found = write_continuations(model, prompts.numpy(), spec, {EOS}, 4)[0][0]
        assert found == until_end(expected[0, 8:].tolist(), {EOS})


def _first_tokens(model: Any, **changes: Any) -> np.ndarray:
    spec = _spec(num_samples=4000, max_new_tokens=2, **changes)
    found = write_continuations(model, _prompts(1), spec, (), 4000)
    return np.bincount([ids[0] for ids in found[0]], minlength=VOCAB_SIZE)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_tokens_are_drawn_from_the_models_own_chances(temperature: float) -> None:
    model = tiny_model("gpt2", n_layer=1)
    with torch.no_grad():
        logits = model(torch.from_numpy(_prompts(1))).logits[0, -1].double()
    counts = _first_tokens(model, temperature=temperature)

    def p_value(chances: np.ndarray) -> float:
        # tokens that are expected less than five times are taken together
        often = chances * 4000 >= 5
        seen = np.append(counts[often], counts[~often].sum())
        expected = np.append(chances[often], chances[~often].sum()) * 4000
        return float(stats.chisquare(seen, expected).pvalue)

    assert p_value((logits / temperature).softmax(-1).numpy()) > 0.01
    # chances of another temperature would be seen
    assert p_value((logits / temperature / 1.2).softmax(-1).numpy()) < 1e-4


def test_top_k_and_top_p_leave_the_likeliest_tokens() -> None:
    model = tiny_model("gpt2", n_layer=1)
    with torch.no_grad():
        logits = model(torch.from_numpy(_prompts(1))).logits[0, -1]
    chances, order = logits.softmax(-1).sort(descending=True)
    found = _first_tokens(model, top_k=3)
    assert set(np.flatnonzero(found)) == set(order[:3].tolist())
    needed = int((chances.cumsum(0) < 0.3).sum()) + 1
    found = _first_tokens(model, top_p=0.3)
    assert set(np.flatnonzero(found)) == set(order[:needed].tolist())


def test_prompt_that_is_copied_counts_once() -> None:
    """Eight different tokens again are eight tokens without a repetition."""
    prompt = np.arange(10, 18)[None]
    model = _follow(tiny_model("gpt2"), {token: 10 + (token - 9) % 8 for token in range(10, 18)})
    spec = _spec(temperature=0, max_new_tokens=8)
    assert write_continuations(model, prompt, spec, {EOS}, 4) == [[list(range(10, 18))]]


def test_text_behind_an_end_token_never_counts() -> None:
    model = tiny_model("gpt2")
    texts = {place: _prompts()[place, -1] for place in range(5)}
    assert len(set(texts.values())) == 5
    # one text ends after two tokens, and with it begins the padding, which is a word elsewhere
    successors = {int(texts[0]): 1, 1: 2, 2: EOS, EOS: 5, BOS: 6, int(texts[1]): BOS}
    found = _write(_follow(model, successors), _spec(temperature=0))
    assert found[0] == [[1, 2]]
    assert found[1] == [[]]
    assert found[2] == [[int(texts[2])] * 12]


def test_end_tokens_are_those_of_the_tokenizer() -> None:
    assert end_tokens(byte_tokenizer()) == {BOS, EOS}
    without = SimpleNamespace(bos_token_id=None, eos_token_id=None)
    assert end_tokens(without) == frozenset()  # type: ignore[arg-type]
    assert until_end([1, 2, 3], {3, 2}) == [1]
    assert until_end([1, 2], ()) == [1, 2]


def test_tokenizer_without_an_end_token_writes_to_the_full_length() -> None:
    model = tiny_model("gpt2")
    found = write_continuations(_follow(model, {}), _prompts(), _spec(temperature=0), (), 3)
    assert [len(ids) for (ids,) in found] == [12] * 5


def test_models_own_generation_configuration_counts_for_nothing_and_stays() -> None:
    model = tiny_model("gpt2")
    expected = _write(model, _spec())
    own = model.generation_config
    own.update(eos_token_id=[*range(200)], repetition_penalty=9.0, do_sample=True, top_k=1)
    before = own.to_dict()
    assert _write(model, _spec()) == expected
    assert model.generation_config is own
    assert own.to_dict() == before


def test_model_in_training_mode_writes_without_dropout_and_stays_so() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5)
    expected = _write(model, _spec())
    model.train()
    assert _write(model, _spec()) == expected
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_numbers_stop_the_writing(temperature: float) -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(SentinelError, match="logits behind 8 tokens are NaN"):
        _write(model, _spec(temperature=temperature))


def test_prompts_are_different_places_spread_over_the_documents() -> None:
    tokenizer, spec = byte_tokenizer(), _spec(num_prompts=40, prompt_tokens=100, max_new_tokens=70)
    prompts, goes_on = held_out_prompts(spec, tokenizer)
    assert (prompts.shape, goes_on.shape) == ((40, 101), (40, 70))
    assert (prompts[:, 0] == BOS).all()
    places = [
        tokenizer.decode([*prompt[1:], *rest])
        for prompt, rest in zip(prompts, goes_on, strict=True)
    ]
    texts = load_corpus("synthetic", "test")["text"][:]
    owners = [next(i for i, text in enumerate(texts) if place in text) for place in places]
    assert owners == sorted(owners)
    assert len(set(places)) == 40
    assert owners[-1] > 0.9 * len(texts)


def test_pruned_model_and_dense_one_get_the_same_prompts_and_noise(tmp_path: Path) -> None:
    dense, tokenizer, spec = tiny_model("gpt2"), byte_tokenizer(), _spec(num_samples=2)
    pruned, _ = prune(copy.deepcopy(dense), PruneSpec(scorer="random", fraction=0.4))
    again = copy.deepcopy(dense)
    found = {}
    for name, model in (("dense", dense), ("pruned", pruned), ("again", again)):
        report = evaluate_generation(model, tokenizer, spec, batch_size=4, folder=tmp_path / name)
        lines = (tmp_path / name / CONTINUATIONS_FILE).read_text().splitlines()
        found[name] = report, [json.loads(line) for line in lines]
    (first, rows), (second, others), (third, same) = found.values()
    assert first["data"]["prompts_sha256"] == second["data"]["prompts_sha256"]
    assert [row["prompt_tokens"] for row in rows] == [row["prompt_tokens"] for row in others]
    assert first["human"] == second["human"]
    assert same == rows != others
    assert third["quality"] == first["quality"] != second["quality"]


@pytest.mark.parametrize("family", ["mamba", "sentinel"])
def test_model_with_a_state_has_quality_and_speed(family: str) -> None:
    found = evaluate_generation(
        tiny_model(family), byte_tokenizer(), _spec(num_samples=2, num_timings=2), batch_size=64
    )
    assert found["num_continuations"] == 10
    assert 0 < found["quality"]["distinct-2"]["value"] <= 1
    assert found["quality"]["tokens"]["stderr"] >= 0
    assert len(found["quality"]["distinct-2"]["values"]) == 5
    assert found["human"]["tokens"]["value"] == 12
    assert found["speed"]["first_token_seconds"]["median"] > 0
    assert [len(one["continuations"]) for one in found["examples"]] == [2, 2, 2]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def _distinct_pairs(texts: list[list[int]]) -> float:
    pairs = [pair for ids in texts for pair in itertools.pairwise(ids)]
    return len(set(pairs)) / len(pairs)


def test_metrics_are_those_of_the_texts_in_the_file(tmp_path: Path) -> None:
    tokenizer, spec = byte_tokenizer(), _spec(temperature=0.2)
    model = tiny_model("llama")
    found = evaluate_generation(model, tokenizer, spec, batch_size=64, folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / CONTINUATIONS_FILE).read_text().splitlines()]
    texts = [ids for row in rows for ids in row["continuation_tokens"]]
    assert found["quality"]["distinct-2"]["value"] == _distinct_pairs(texts)
    assert found["num_ended"] == sum(len(ids) < 12 for ids in texts)
    human = [row["human_tokens"] for row in rows]
    assert found["human"]["distinct-2"]["value"] == _distinct_pairs(human)
    corpus = "\n".join(load_corpus("synthetic", "test")["text"][:])
    assert all(row["prompt"] + row["human"] in corpus for row in rows)


def test_nothing_is_timed_where_no_timing_is_asked_for() -> None:
    found = evaluate_generation(
        tiny_model("gpt2"), byte_tokenizer(), _spec(num_timings=0), batch_size=4
    )
    assert "speed" not in found
    assert found["quality"]["tokens"]["value"]


def test_n_gram_floor_is_left_out_with_its_reason() -> None:
    model = NgramForCausalLM(NgramCounts(np.zeros((1, 9), dtype=np.int64), 1, VOCAB_SIZE))
    found = evaluate_generation(model, byte_tokenizer(), _spec(), batch_size=4)
    assert found["skipped"] == "the model cannot continue a text with a state of the past"
    assert found["human"]["tokens"]["value"] == 12
    assert "quality" not in found


def test_text_that_is_timed_has_the_same_length_for_all_models() -> None:
    """An end token would make the timing of one model shorter than another's."""
    model = _follow(tiny_model("gpt2"), dict.fromkeys(range(NUM_BYTES), EOS))
    assert measure_speed(model, _prompts(1)[0], _spec()).num_decoded == 11
    ids = torch.from_numpy(_prompts(1))
    assert generate(model, ids, _spec().max_new_tokens, ()).tolist() == [[EOS] * 12]


def _refusal(spec: GenerationSpec, family: str = "gpt2") -> str:
    asked = EvalSpec(tasks=["sentinel_synthetic"], generation=spec)
    with pytest.raises((UsageError, DataError)) as caught:
        check_generation(asked, tiny_model(family).config, byte_tokenizer())
    assert caught.value.hint
    return caught.value.message


def test_text_longer_than_the_models_context_is_refused() -> None:
    fits = _spec(prompt_tokens=51)
    check_generation(
        EvalSpec(tasks=["x"], generation=fits), tiny_model("gpt2").config, byte_tokenizer()
    )
    message = _refusal(_spec(prompt_tokens=52))
    assert "prompts of 53 tokens, one of them begins the text, and `max_new_tokens` = 12" in message
    assert message.endswith("more than the model's context of 64 tokens")


def test_model_without_a_limit_continues_texts_of_any_length() -> None:
    asked = EvalSpec(tasks=["x"], generation=_spec(prompt_tokens=500))
    check_generation(asked, tiny_model("mamba").config, byte_tokenizer())


def test_nothing_is_checked_where_nothing_is_to_be_written() -> None:
    check_generation(EvalSpec(tasks=["x"]), tiny_model("gpt2").config, byte_tokenizer())


def test_corpus_too_short_for_the_prompts_is_refused() -> None:
    message = _refusal(_spec(num_prompts=5000, prompt_tokens=30))
    assert "5000 prompts are asked for" in message
    message = _refusal(_spec(prompt_tokens=5000), "mamba")
    assert "has 0 places of 5000 + 12 tokens within a document (the longest has 63" in message


def test_corpus_without_a_test_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("text to train on")
    (tmp_path / "validation.txt").write_text("other text")
    define_corpora({"mine": CorpusSpec(path=str(tmp_path))})
    try:
        message = _refusal(_spec(corpus="mine"))
    finally:
        define_corpora({})
    assert message == "corpus 'mine' has no split 'test'"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0, "num_samples": 3}, "writes the same text 3 times"),
        ({"temperature": 0, "top_k": 3}, "`top_k` limits what is drawn"),
        ({"temperature": 0, "top_p": 0.5}, "`top_p` limits what is drawn"),
        ({"temperature": -1}, "greater than or equal to 0"),
        ({"top_p": 0}, "greater than 0"),
        ({"num_prompts": 1}, "greater than 1"),
        ({"max_new_tokens": 1}, "greater than 1"),
        ({"num_timings": 1}, "`num_timings` = 1 has no spread"),
        ({"split": "train"}, "'validation' or 'test'"),
    ],
)
def test_request_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _spec(**changes)


def test_example_of_the_documentation_is_a_request() -> None:
    text = (Path(__file__).parents[2] / "docs" / "generation.md").read_text(encoding="utf-8")
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert EvalSpec(**example["evaluate"]).generation is not None


def test_generation_goes_with_tasks() -> None:
    with pytest.raises(ValidationError, match="`generation` goes with `tasks`"):
        EvalSpec(tasks=[], generation=_spec())
