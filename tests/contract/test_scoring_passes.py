"""What a model is given to read for a set of requests, and in how many batches."""

from typing import Any

import pytest
import torch

from sentinel_research.errors import UsageError
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.scores import batch_size, prefixes
from sentinel_research.evaluation.scores.batch_size import BatchSize
from sentinel_research.evaluation.scores.prefixes import Continuation, reading_trees
from sentinel_research.evaluation.scores.scorer import Limits, Scorer
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from tests.contract.scores import adapters, few_shot, read_by, scores

# float32 sums in another order
TOLERANCE = 1e-4


@pytest.fixture
def every_token_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few tokens a shared beginning saves."""
    monkeypatch.setattr(prefixes, "MIN_SAVED", 1)


def _same(found: Any, expected: Any) -> bool:
    return [one for one, _ in found] == pytest.approx([one for one, _ in expected], abs=TOLERANCE)


@pytest.mark.usefixtures("every_token_counts")
def test_few_shot_header_and_contexts_are_read_once() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 8, 40)
    seen = read_by(model)
    scores(ours, few_shot())
    # the header, all questions, all choices but those of one token
    assert seen == [(1, 20), (3, 9), (9, 4)]


@pytest.mark.usefixtures("every_token_counts")
def test_states_are_made_from_questions_of_one_length() -> None:
    model = tiny_model("mamba")
    _, ours = adapters(model, 8, 40)
    seen = read_by(model)
    scores(ours, few_shot())
    assert seen == [(1, 20), (1, 9), (2, 7), (9, 4)]


@pytest.mark.usefixtures("every_token_counts")
def test_equal_contexts_are_read_once() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 8)
    seen = read_by(model)
    four = [([1, 2, 3, 4, 5], [choice]) for choice in (6, 7, 8, 9)]
    # the last context begins the others
    scores(ours, [*four, *four, ([9, 9], [1]), ([1, 2, 3], [1])])
    assert seen == [(2, 5)]


@pytest.mark.usefixtures("every_token_counts")
@pytest.mark.parametrize("family", ["gpt2", "mamba"])
def test_budget_of_one_byte_keeps_one_question_at_a_time(family: str) -> None:
    model = tiny_model(family)
    stock, ours = adapters(model, 8, 40)
    expected = scores(stock, few_shot())
    ours._kept_bytes = 1
    seen = read_by(model)
    assert _same(scores(ours, few_shot()), expected)
    # each with its choices
    assert seen == [(1, 20), (1, 9), (3, 4), (1, 7), (3, 4), (1, 7), (3, 4)]


@pytest.mark.usefixtures("every_token_counts")
def test_budget_that_holds_two_questions_reads_two_at_a_time() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 8, 40)
    layers, width, num_bytes = model.config.n_layer, model.config.n_embd, 4
    token = 2 * layers * width * num_bytes
    ours._kept_bytes = (20 + 2 * 9) * token
    seen = read_by(model)
    scores(ours, few_shot())
    assert seen == [(1, 20), (2, 9), (6, 4), (1, 7), (3, 4)]


@pytest.mark.usefixtures("every_token_counts")
def test_no_budget_shares_no_beginning() -> None:
    model = tiny_model("gpt2")
    stock, ours = adapters(model, 99, 40, kv_cache_mib=0)
    expected = scores(stock, few_shot())
    seen = read_by(model)
    assert _same(scores(ours, few_shot()), expected)
    assert sum(sequences for sequences, _ in seen) == 9
    assert not ours.scoring["reads_shared_beginnings_once"]


@pytest.mark.parametrize("value", [-1, "much", None])
def test_budget_that_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="kv_cache_mib is"):
        SentinelLM(tiny_model("gpt2"), tokenizer=byte_tokenizer(), kv_cache_mib=value)


def test_batch_that_does_not_fit_is_halved_and_scores_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    pairs = [([1, 2, 3 + one], [4, one]) for one in range(8)]
    stock, ours = adapters(model, 8)
    expected = scores(stock, pairs)
    seen = read_by(model)

    def refuse(_: Any, args: Any) -> None:
        if args[0].shape[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(refuse)
    assert _same(scores(ours, pairs), expected)
    # once halved, no batch is tried that is as large again
    assert seen == [(8, 4), (4, 4), (2, 4), (2, 4), (4, 4), (2, 4), (2, 4)]


def test_other_failures_of_a_model_are_not_taken_for_a_lack_of_memory() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 8)

    def fail(_: Any, __: Any) -> None:
        raise RuntimeError("shapes do not agree")

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        scores(ours, [([1], [2]), ([3], [4])])


def test_sequence_that_does_not_fit_alone_fails() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 8)

    def fail(_: Any, __: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        scores(ours, [([1], [2]), ([3], [4])])


def test_batch_size_grows_while_that_is_faster() -> None:
    size = BatchSize(None, 64)
    for _ in range(9):
        # no faster from 32 on
        size.measured(size.value, 100 * min(size.value, 32), 1.0)
    assert size.value == 32


def test_batch_size_stays_below_its_bound() -> None:
    size = BatchSize(None, 20)
    for rate in range(1, 9):
        size.measured(size.value, 2**rate, 1.0)
    assert size.value == 16


def test_batch_size_learns_nothing_from_a_batch_that_was_not_full() -> None:
    size = BatchSize(None, 64)
    size.measured(3, 100, 1.0)
    assert size.value == 8


def test_batch_size_that_was_asked_for_stays() -> None:
    size = BatchSize(5, 64)
    for rate in range(1, 9):
        size.measured(5, 2**rate, 1.0)
    assert size.value == 5


def test_automatic_batches_change_no_score_and_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_size, "_FIRST", 1)
    model = tiny_model("gpt2")
    pairs = [([1, 2, 3 + one], [4, one]) for one in range(40)]
    stock = adapters(model, 8)[0]
    expected = scores(stock, pairs)
    seen = read_by(model)
    ours = SentinelLM(
        model, tokenizer=byte_tokenizer(), batch_size="auto", max_length=24, quiet=True
    )
    assert seen == []
    assert _same(scores(ours, pairs), expected)
    assert seen[0] == (1, 4)
    assert ours.scoring == {
        "reads_shared_beginnings_once": True,
        "batch_size": ours.batch_sizes[0],
        "num_processes": 1,
    }
    # nothing is read for the sake of measuring
    assert sum(sequences for sequences, _ in seen) == 40


def test_pass_has_no_more_of_the_longest_sequences_than_asked() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 2)
    seen = read_by(model)
    scores(ours, [([1, 2, one], [3]) for one in range(5)])
    assert seen == [(2, 3), (2, 3), (1, 3)]


def test_short_sequences_go_together_in_greater_number() -> None:
    model = tiny_model("gpt2")
    _, ours = adapters(model, 2)
    # what a pass costs here
    ours._pass_tokens = lambda: 12
    seen = read_by(model)
    scores(ours, [([9] * 16, [1]), *(([1, one], [2, 2]) for one in range(12))])
    # a second sequence in the first pass would be thirteen tokens of padding
    assert seen == [(1, 16), (8, 3), (4, 3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_sum_over_thousands_of_tokens_is_that_of_float64(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(1, 5000, 30, generator=generator)).to(dtype)
    target = torch.randint(30, (5000,), generator=generator)
    one = Continuation((0, *target[:-1].tolist()), tuple(target.tolist()))
    scorer = Scorer(
        lambda _, __: logits,
        None,
        None,
        torch.device("cpu"),
        [5000],
        Limits(BatchSize(1, 1), 0.0, 0.0),
        lambda *_: None,
    )
    scorer.read(reading_trees([one], shares=False))
    ((found, _),) = scorer.scores()
    exact = logits[0].double().log_softmax(-1)[torch.arange(5000), target].sum()
    # a float32 sum of 45,000 nats is off by a tenth; the logarithms are of float32, 5e-7 nats each
    assert found == pytest.approx(float(exact), abs=2e-3)
