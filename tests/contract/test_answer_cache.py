"""Laws of kept answers: a model finds its own, whole and at once, and never another's."""

import functools
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from transformers import GPT2LMHeadModel, PreTrainedModel

from sentinel_research.errors import DataError, UsageError
from sentinel_research.evaluation import answer_cache, evaluate, find_tasks
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.answer_cache import answering, from_json, to_json
from sentinel_research.evaluation.perplexity import RollingLogLikelihood
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.specs import EvalSpec, PruneSpec

TEXTS = ["", "abc " * 40, "The quick brown fox.", "x" * 130]
PAIRS = [("ab", "cde"), ("abcd", "e"), ("Once upon", " a time"), ("", "y" * 80)]
PROMPTS = ["Once", "The quick"]
GREEDY: dict[str, Any] = {"until": ["\n"], "max_gen_toks": 5, "do_sample": False}


def _requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, one, index) for index, one in enumerate(arguments)]


def _answers(lm: Any) -> list[Any]:
    """Of all three kinds of request."""
    return [
        *lm.loglikelihood(_requests("loglikelihood", PAIRS)),
        *lm.loglikelihood_rolling(_requests("loglikelihood_rolling", [(one,) for one in TEXTS])),
        *lm.generate_until(_requests("generate_until", [(one, GREEDY) for one in PROMPTS])),
    ]


def _lm(model: PreTrainedModel, **options: Any) -> SentinelLM:
    given_first: dict[str, Any] = {"tokenizer": byte_tokenizer(), "batch_size": 2, "quiet": True}
    return SentinelLM(model, **{**given_first, **options})


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[SentinelLM], list[Any]]:
    """Answers of a model through one file."""

    def answer(lm: SentinelLM) -> list[Any]:
        with answering(lm, tmp_path / "answers") as caching:
            return _answers(caching)

    return answer


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every forward pass of a language model."""
    found: list[int] = []
    plain = GPT2LMHeadModel.forward

    @functools.wraps(plain)
    def forward(self: GPT2LMHeadModel, *args: Any, **options: Any) -> Any:
        found.append(1)
        return plain(self, *args, **options)

    monkeypatch.setattr(GPT2LMHeadModel, "forward", forward)
    return found


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_pruned_model_is_not_given_the_dense_answers(
    family: str, kept: Callable[[SentinelLM], list[Any]]
) -> None:
    dense = tiny_model(family)
    pruned, _ = prune(dense, PruneSpec(scorer="magnitude_l2", fraction=0.5))
    for model in (dense, pruned, dense, pruned):
        assert kept(_lm(model)) == _answers(_lm(model))
    assert kept(_lm(dense)) != kept(_lm(pruned))


def test_same_model_is_not_run_a_second_time(
    kept: Callable[[SentinelLM], list[Any]], passes: list[int]
) -> None:
    first = kept(_lm(tiny_model("gpt2")))
    assert passes
    passes.clear()
    # another object, in other batches
    second = kept(_lm(tiny_model("gpt2"), batch_size=3))
    assert not passes
    assert second == first
    # a tuple and a number that knows its windows, not the lists of JSON
    assert [type(one) for one in second] == [type(one) for one in first]
    windows = [one for one in second if isinstance(one, RollingLogLikelihood)]
    assert [sum(one.window_num_tokens) for one in windows] == [len(text) for text in TEXTS]


OTHERS: dict[str, dict[str, Any]] = {
    "window": {"max_length": 32},
    "prefix-token": {"prefix_token_id": 7},
    "mixed-precision": {"mixed_precision_dtype": "bfloat16"},
    "truncation": {"truncation": True},
    "lossy": {"allow_lossy_tokenizer": True},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_setting_finds_no_answer(
    options: dict[str, Any], kept: Callable[[SentinelLM], list[Any]], passes: list[int]
) -> None:
    kept(_lm(tiny_model("gpt2")))
    passes.clear()
    found = kept(_lm(tiny_model("gpt2"), **options))
    assert passes
    assert found == _answers(_lm(tiny_model("gpt2"), **options))


def test_other_tokenizer_finds_no_answer(
    kept: Callable[[SentinelLM], list[Any]], passes: list[int]
) -> None:
    kept(_lm(tiny_model("gpt2")))
    passes.clear()
    other = byte_tokenizer()
    other.add_special_tokens({"bos_token": "a"})
    kept(_lm(tiny_model("gpt2"), tokenizer=other))
    assert passes


@pytest.mark.parametrize("kind", ["texts", "windows", "written"])
def test_interrupted_run_goes_on_where_it_was(
    kind: str, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = {
        "texts": _requests("loglikelihood", [(f"{at} is", f" {at}") for at in range(8)]),
        # the only text is not done before its last window is
        "windows": _requests("loglikelihood_rolling", [("".join(map(str, range(200))),)]),
        "written": _requests("generate_until", [(f"{at} is", GREEDY) for at in range(8)]),
    }[kind]

    def answer(lm: Any) -> Any:
        return getattr(lm, requests[0].request_type)(requests)

    expected = answer(_lm(tiny_model("gpt2"), batch_size=1))
    num_whole = len(passes)
    # two requests, or windows, of eight
    num_first = num_whole // 4
    assert num_first * 4 == num_whole
    complete = GPT2LMHeadModel.forward

    @functools.wraps(complete)
    def stopped(self: GPT2LMHeadModel, *args: Any, **options: Any) -> Any:
        if len(passes) == num_first:
            raise KeyboardInterrupt
        return complete(self, *args, **options)

    passes.clear()
    with monkeypatch.context() as patch:
        patch.setattr(GPT2LMHeadModel, "forward", stopped)
        with (
            pytest.raises(KeyboardInterrupt),
            answering(_lm(tiny_model("gpt2"), batch_size=1), tmp_path / "answers") as lm,
        ):
            answer(lm)
    passes.clear()
    with answering(_lm(tiny_model("gpt2"), batch_size=1), tmp_path / "answers") as lm:
        found = answer(lm)
    assert len(passes) == num_whole - num_first
    assert found == expected


def test_pickles_of_stock_lm_eval_are_never_read(
    tmp_path: Path,
    kept: Callable[[SentinelLM], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "answers_rank0.db"
    stock = HFLM(tiny_model("llama"), tokenizer=byte_tokenizer(), logits_cache=False)
    caching = CachingLM(stock, str(file))
    caching.loglikelihood(_requests("loglikelihood", PAIRS[:2]))
    caching.dbdict.close()
    before = _tables(file)["unnamed"]
    assert before

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr("sqlitedict.loads", refuse)
    monkeypatch.setattr("sqlitedict.dumps", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    model = tiny_model("gpt2")
    assert kept(_lm(model)) == _answers(_lm(model))
    assert _tables(file)["unnamed"] == before


def test_every_answer_is_kept_where_lm_eval_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(_lm(tiny_model("gpt2")), tmp_path / "answers") as lm:
        # what the model itself writes, without lm-eval's own writing at the end
        asked = lm.lm.loglikelihood(_requests("loglikelihood", PAIRS[:3]))
        asked += lm.lm.generate_until(_requests("generate_until", [(PROMPTS[0], GREEDY)]))
    monkeypatch.setattr(SentinelLM, "loglikelihood", None)
    monkeypatch.setattr(SentinelLM, "generate_until", None)
    with answering(_lm(tiny_model("gpt2")), tmp_path / "answers") as lm:
        found = lm.loglikelihood(_requests("loglikelihood", PAIRS[:3]))
        found += lm.generate_until(_requests("generate_until", [(PROMPTS[0], GREEDY)]))
    assert found == asked


def test_sampled_text_is_drawn_anew(tmp_path: Path, passes: list[int]) -> None:
    sampled = {**GREEDY, "do_sample": True, "temperature": 1.0}
    for _ in range(2):
        passes.clear()
        with answering(_lm(tiny_model("gpt2")), tmp_path / "answers") as lm:
            lm.generate_until(_requests("generate_until", [("Once", sampled)]))
        assert passes


def test_file_of_another_kind_is_refused_and_left(tmp_path: Path) -> None:
    file = tmp_path / "notes_rank0.db"
    file.write_text("my notes, and not a few of them")
    with (
        pytest.raises(UsageError, match="no SQLite file"),
        answering(_lm(tiny_model("gpt2")), tmp_path / "notes"),
    ):
        pass
    assert file.read_text().startswith("my notes")


def test_damaged_answer_is_an_error(tmp_path: Path) -> None:
    lm = _lm(tiny_model("gpt2"))
    request = _requests("loglikelihood", PAIRS[:1])
    with answering(lm, tmp_path / "answers") as caching:
        caching.loglikelihood(request)
    with sqlite3.connect(tmp_path / "answers_rank0.db") as connection:
        connection.execute(f'UPDATE "sentinel_{lm.answers_of}" SET value = ?', ('{"score": 1}',))
    connection.close()
    with (
        pytest.raises(DataError, match="no answer"),
        answering(_lm(tiny_model("gpt2")), tmp_path / "answers") as caching,
    ):
        caching.loglikelihood(request)


_FLOATS = st.floats(allow_nan=False)


@given(
    st.one_of(
        st.text(),
        st.tuples(_FLOATS, st.booleans()),
        st.lists(st.tuples(_FLOATS, st.integers(1, 4096))).map(
            lambda pairs: RollingLogLikelihood([a for a, _ in pairs], [b for _, b in pairs])
        ),
    )
)
def test_answer_comes_back_with_every_bit(answer: Any) -> None:
    found = from_json(to_json(answer))
    assert type(found) is type(answer)
    assert found == answer or str(found) == str(answer)  # infinities of both signs sum to NaN
    if isinstance(answer, RollingLogLikelihood):
        assert found.window_log_likelihoods == answer.window_log_likelihoods
        assert found.window_num_tokens == answer.window_num_tokens


def test_stage_keeps_answers_and_says_of_which_model(
    tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EvalSpec(tasks=["sentinel_synthetic"], limit=2, max_length=64)
    with_cache = spec.model_copy(update={"cache": tmp_path / "answers"})
    # the fingerprint is of what changes a number
    assert with_cache.fingerprint() == spec.fingerprint()
    model, tokenizer = tiny_model("gpt2"), byte_tokenizer()
    plain = evaluate(model, tokenizer, spec)
    assert plain.answers_of is None
    first = evaluate(model, tokenizer, with_cache)
    passes.clear()
    second = evaluate(model, tokenizer, with_cache)
    assert not passes
    assert plain.measurements == first.measurements == second.measurements
    assert second.answers_of == first.answers_of is not None


def test_kept_prompts_are_refused_with_the_reason() -> None:
    _lm(tiny_model("gpt2"))
    (task,) = find_tasks(["sentinel_synthetic"]).load(["sentinel_synthetic"])["tasks"].values()
    with pytest.raises(UsageError, match="by the name of the task alone"):
        task.build_all_requests(limit=1, cache_requests=True)
    task.build_all_requests(limit=1)
    assert task.instances


def _tables(file: Path) -> dict[str, list[Any]]:
    connection = sqlite3.connect(file)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    found = {
        name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
        for name in names
        if not name.startswith("sqlite_")
    }
    connection.close()
    return found


def test_fingerprint_has_a_table_of_its_own(
    tmp_path: Path, kept: Callable[[SentinelLM], list[Any]]
) -> None:
    lm = _lm(tiny_model("gpt2"))
    kept(lm)
    tables = _tables(tmp_path / "answers_rank0.db")
    assert set(tables) == {"unnamed", f"sentinel_{lm.answers_of}"}
    assert tables["unnamed"] == []
    assert answer_cache.answers_fingerprint(lm, [[], False]) == lm.answers_of
