"""Laws that every adapter of lm-eval for causal models obeys, as tests for anybody's.

Run them with `pytest --pyargs sentinel_research.testing.adapter_laws --adapter MODULE:FUNCTION`, or
import them all into a test file that defines the fixture `make_adapter`. The fixture
`judged_model` can be defined anew too. What is right is computed by `reference`.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from transformers import PreTrainedModel

from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.testing import reference
from sentinel_research.testing.plugin import OPTION

Make = Callable[..., Any]

MAX_LENGTH = 32
TOLERANCE = 1e-4
"""Nats, of sums of up to a few dozen float32 logarithms."""
TEXT = "Four score and seven years ago our fathers brought forth on this continent"
PAIRS = [
    ("Once upon a", " time"),
    ("Once upon a", " midnight"),
    ("Once upon a", " tim"),
    ("Once upon a t", "ime"),
    ("x", "yz"),
    ("a" * 60, "bc"),
    ("ab", "c" * 20),
]


def built(make_adapter: Make, model: PreTrainedModel, batch_size: int = 1) -> Any:
    """The adapter on a model, with the tokenizer whose tokens are bytes."""
    return make_adapter(
        model, tokenizer=byte_tokenizer(), batch_size=batch_size, max_length=MAX_LENGTH
    )


def requests(kind: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    """Requests of one kind."""
    return [Instance(kind, {}, one, place) for place, one in enumerate(arguments)]


def scores(adapter: Any, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """Of continuations of texts."""
    return list(adapter.loglikelihood(requests("loglikelihood", pairs)))


def assert_near(found: Any, expected: Any) -> None:
    """Equal flags, and log-likelihoods that differ by rounding only."""
    assert [flag for _, flag in found] == [flag for _, flag in expected]
    right = pytest.approx([value for value, _ in expected], abs=TOLERANCE)
    assert [value for value, _ in found] == right


def tokens(text: str) -> list[int]:
    """Of the tokenizer that adapters are judged with."""
    return list(byte_tokenizer().encode(text))


def test_log_likelihoods_are_those_of_the_plain_model(
    make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    found = scores(built(make_adapter, judged_model), PAIRS)
    expected = []
    for context, continuation in PAIRS:
        # what does not fit is cut off in front
        kept = tokens(context)[-(MAX_LENGTH + 1 - len(tokens(continuation))) :]
        expected.append(reference.log_likelihood(judged_model, kept, tokens(continuation)))
    assert_near(found, expected)


@pytest.mark.parametrize("batch_size", [3, 8])
def test_batches_change_no_score(
    batch_size: int, make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    alone = scores(built(make_adapter, judged_model), PAIRS)
    assert_near(scores(built(make_adapter, judged_model, batch_size), PAIRS), alone)


def test_padding_changes_no_score(make_adapter: Make, judged_model: PreTrainedModel) -> None:
    short, long = ("ab", "c"), ("d" * 25, "ef")
    adapter = built(make_adapter, judged_model, batch_size=2)
    assert_near(scores(adapter, [short, long])[:1], scores(adapter, [short]))


def test_tokens_that_come_later_change_no_score(
    make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    adapter = built(make_adapter, judged_model)
    first, second, both = scores(adapter, [("ab", "cd"), ("abcd", "ef"), ("ab", "cdef")])
    assert first[0] + second[0] == pytest.approx(both[0], abs=TOLERANCE)


def test_continuation_that_begins_another_is_scored_at_its_own_place(
    make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    # both are read as the same tokens, and predicted by different ones of them
    pairs = [("ab", "cde"), ("abcd", "f")]
    adapter = built(make_adapter, judged_model, batch_size=2)
    assert_near(scores(adapter, pairs), [scores(adapter, [one])[0] for one in pairs])


@pytest.mark.parametrize("text", [TEXT, "a" * 41, "b"])
def test_whole_texts_are_scored_in_windows_made_by_hand(
    text: str, make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    adapter = built(make_adapter, judged_model, batch_size=2)
    (found,) = adapter.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,)]))
    expected = reference.rolling(
        judged_model, tokens(text), adapter.prefix_token_id, adapter.max_length
    )
    assert float(found) == pytest.approx(expected, abs=TOLERANCE)


def test_written_text_is_the_one_that_the_prompt_gets_alone(
    make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    prompts = ["a", "Once upon a time", "xy"]
    options = {"until": ["\0"], "max_gen_toks": 6, "do_sample": False}
    adapter = built(make_adapter, judged_model, batch_size=3)
    asked = requests("generate_until", [(prompt, dict(options)) for prompt in prompts])
    ends = byte_tokenizer().eos_token_id
    expected = []
    for prompt in prompts:
        written = reference.greedy(judged_model, tokens(prompt), 6)
        if ends in written:
            written = written[: written.index(ends)]
        text = str(byte_tokenizer().decode(written, skip_special_tokens=True))
        expected.append(text.split("\0")[0])
    assert list(adapter.generate_until(asked)) == expected


def test_kept_answers_are_those_of_the_same_model(
    make_adapter: Make, judged_model: PreTrainedModel, tmp_path: Path
) -> None:
    """As lm-eval's `--use_cache` keeps them; refusing to keep any is right too."""
    other = tiny_model("gpt2", seed=1)
    own = scores(built(make_adapter, other), PAIRS)
    for model in (judged_model, other):
        adapter = built(make_adapter, model)
        try:
            kept = CachingLM(adapter, str(tmp_path / "answers.db"))
        except Exception as error:
            pytest.skip(f"the adapter keeps no answers: {error}")
        found = list(kept.loglikelihood(requests("loglikelihood", PAIRS)))
        kept.dbdict.close()
    assert_near(found, own)


def test_nothing_is_fetched(
    make_adapter: Make, judged_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the adapter opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(scores(built(make_adapter, judged_model), PAIRS)) == len(PAIRS)


_PROGRAM = """
import json
import sys
from sentinel_research.models.tiny import tiny_model
from sentinel_research.testing.adapter_laws import PAIRS, built, scores
from sentinel_research.testing.plugin import imported

found = scores(built(imported(sys.argv[1]), tiny_model("gpt2"), 2), PAIRS)
print("scores:", json.dumps(found))
"""


def test_two_processes_give_the_scores_of_one(
    pytestconfig: pytest.Config, make_adapter: Make, judged_model: PreTrainedModel
) -> None:
    """Each as torchrun starts it; the adapter is asked everything in both."""
    name = pytestconfig.getoption(OPTION)
    if name is None:
        pytest.skip(f"another process can make the adapter only by {OPTION} MODULE:FUNCTION")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, name],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    outputs = [one.communicate()[0] for one in running]
    assert [one.returncode for one in running] == [0, 0]
    expected = scores(built(make_adapter, judged_model, 2), PAIRS)
    for output in outputs:
        (line,) = (one for one in output.splitlines() if one.startswith("scores: "))
        assert_near(json.loads(line.removeprefix("scores: ")), expected)
