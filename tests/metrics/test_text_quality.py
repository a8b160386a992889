"""Variety of texts: by hand, by a slow count, by sacrebleu; and errors by their definition."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from sentinel_research.metrics.resampling import jackknife
from sentinel_research.metrics.self_bleu import MAX_ORDER, self_bleu, words_of
from sentinel_research.metrics.text_quality import (
    ORDERS,
    Estimate,
    distinct_n,
    seq_rep_n,
    text_quality,
)

LETTERS = "abc"
# prompts with as many continuations each, some of them shorter than the longest n-gram
GROUPS = st.integers(1, 3).flatmap(
    lambda samples: st.lists(
        st.lists(st.text(LETTERS, max_size=9), min_size=samples, max_size=samples),
        min_size=1,
        max_size=5,
    )
)


def _measure(groups: Sequence[Sequence[str]]) -> dict[str, Estimate]:
    """Every letter is a token and a word."""
    return text_quality(groups, [[" ".join(text) for text in group] for group in groups])


def _bleu(text: str, others: Sequence[str]) -> float:
    # the warning that it prints is about shorter texts than these
    return BLEU().sentence_score(text, list(others)).score / 100


def _slow_distinct(texts: Sequence[str], n: int) -> float | None:
    seen, total = [], 0
    for text in texts:
        for start in range(len(text) - n + 1):
            total += 1
            if text[start : start + n] not in seen:
                seen.append(text[start : start + n])
    return len(seen) / total if total else None


def _slow_repeated(text: str, n: int) -> float | None:
    found = [text[start : start + n] for start in range(len(text) - n + 1)]
    again = sum(gram in found[:place] for place, gram in enumerate(found))
    return again / len(found) if found else None


def _slow_self_bleu(texts: Sequence[str]) -> float | None:
    long = [" ".join(text) for text in texts if len(text) >= MAX_ORDER]
    if len(long) < 2:
        return None
    return statistics.fmean(
        _bleu(text, long[:place] + long[place + 1 :]) for place, text in enumerate(long)
    )


def _slow(groups: Sequence[Sequence[str]], metric: str) -> float | None:
    """A metric by its definition."""
    name, _, order = metric.rpartition("-")
    sets = list(zip(*groups, strict=True))
    flat = [text for group in groups for text in group]
    if metric == "tokens":
        values = [float(len(text)) for text in flat]
    elif name == "distinct":
        values = [_slow_distinct(one, int(order)) for one in sets]
    elif name == "seq-rep":
        values = [_slow_repeated(text, int(order)) for text in flat]
    elif metric == "self-bleu":
        values = [_slow_self_bleu(one) for one in sets]
    else:
        long = [[one for one in group if len(one) >= MAX_ORDER] for group in groups]
        values = [_slow_self_bleu(group) for group in long for _ in group]
    kept = [value for value in values if value is not None]
    return statistics.fmean(kept) if kept else None


def test_distinct_n_of_a_small_example() -> None:
    texts = ["abab", "ab"]
    assert distinct_n(texts, 1) == 2 / 6
    # ab ba ab, ab
    assert distinct_n(texts, 2) == 2 / 4
    assert distinct_n(texts, 3) == 2 / 2
    assert distinct_n(texts, 5) is None


def test_seq_rep_n_of_a_small_example() -> None:
    # ab ba ab ba ab
    assert seq_rep_n("ababab", 2) == 1 - 2 / 5
    assert seq_rep_n("ababab", 4) == seq_rep_n("ababab") == 1 - 2 / 3
    assert seq_rep_n("abcd") == 0
    assert seq_rep_n("abc") is None


def test_self_bleu_of_a_small_example() -> None:
    """Of `a b c d` 4, 3, 2 and 1 n-grams match `a b c d e`; it is a fifth too short."""
    found = self_bleu(["abcd", "abcde"]).scores
    assert found[0] == pytest.approx(math.exp(1 - 5 / 4))
    assert found[1] == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_n_gram_is_clipped_at_the_text_that_has_it_most_often() -> None:
    # a matches twice, `a a` once, the longer ones nowhere: smoothed to a half and a quarter
    found = self_bleu(["aaaa", "aabc", "abac"]).scores[0]
    assert found == pytest.approx((2 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** 0.25)


def test_texts_with_nothing_in_common_have_a_self_bleu_of_zero() -> None:
    assert self_bleu(["aaaa", "bbbb"]).scores.tolist() == [0, 0]


@given(st.lists(st.text(LETTERS, min_size=MAX_ORDER, max_size=9), min_size=2, max_size=5))
def test_self_bleu_is_sacrebleus_with_the_others_as_references(texts: list[str]) -> None:
    lines = [" ".join(text) for text in texts]
    found = self_bleu(texts)
    for place, line in enumerate(lines):
        others = lines[:place] + lines[place + 1 :]
        # one rounding more or less
        assert found.scores[place] == pytest.approx(_bleu(line, others), rel=1e-9)
        for left_out in range(len(lines)):
            rest = [one for at, one in enumerate(lines) if at not in (place, left_out)]
            expected = _bleu(line, rest) if rest and left_out != place else math.nan
            assert found.without[place, left_out] == pytest.approx(expected, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("text", ["It's 3.5, no?\nYes-\nno  ", "a &amp; b", "", "1,000.5 (x)"])
def test_words_are_those_of_sacrebleu(text: str) -> None:
    bleu = BLEU()
    assert words_of(text) == bleu.tokenizer(text.rstrip()).split()


def test_text_shorter_than_the_longest_n_gram_has_no_self_bleu() -> None:
    with pytest.raises(ValueError, match="a text of 3 words has no 4-gram"):
        self_bleu(["abcd", "abc"])


@given(GROUPS)
def test_every_metric_is_what_its_definition_says(groups: list[list[str]]) -> None:
    for metric, found in _measure(groups).items():
        expected = _slow(groups, metric)
        if expected is None:
            assert found.value is None
            assert found.reason
        else:
            assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(GROUPS.filter(lambda groups: len(groups) > 1))
def test_error_is_the_jackknife_over_prompts_by_definition(groups: list[list[str]]) -> None:
    without = [groups[:place] + groups[place + 1 :] for place in range(len(groups))]
    for metric, found in _measure(groups).items():
        values = [_slow(rest, metric) for rest in without]
        if found.stderr is None:
            assert found.reason
            assert found.values == ()
            continue
        num = len(values)
        kept = [value for value in values if value is not None]
        assert len(kept) == num
        # a set can lose its only texts while others keep theirs: then there is no error at all
        expected = math.sqrt((num - 1) / num * sum((v - statistics.fmean(kept)) ** 2 for v in kept))
        assert found.stderr == pytest.approx(expected, rel=1e-6, abs=1e-9)
        assert statistics.fmean(found.values) == pytest.approx(found.value, abs=1e-9)


def test_jackknife_of_a_mean_is_its_usual_error() -> None:
    items = np.array([1.0, 4.0, 2.0, 7.0])
    found = jackknife(items.mean(), (items.sum() - items) / 3)
    assert found.stderr == pytest.approx(items.std(ddof=1) / 2)
    assert found.values == pytest.approx(items)
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        jackknife(1.0, np.ones(1))


def test_error_is_near_the_spread_over_many_sets_of_prompts() -> None:
    """The jackknife errs on the large side; with 150 sets the spread is known to 6 percent."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 31)
    names = [f"w{number}" for number in range(30)]
    values: dict[str, list[float]] = {"distinct-2": [], "seq-rep-2": [], "self-bleu": []}
    squares: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(150):
        drawn = rng.choice(30, size=(20, 1, 25), p=shares / shares.sum())
        texts = [[" ".join(names[token] for token in group[0])] for group in drawn]
        found = text_quality(drawn.tolist(), texts)
        for name in values:
            assert found[name].value is not None
            assert found[name].stderr is not None
            values[name].append(found[name].value)
            squares[name].append(found[name].stderr ** 2)
    for name, of_sets in values.items():
        ratio = math.sqrt(statistics.fmean(squares[name])) / statistics.stdev(of_sets)
        assert 0.85 < ratio < 1.35, name


def test_several_samples_are_several_sets_of_one_text_a_prompt() -> None:
    """Four texts for each prompt are not less varied for being more."""
    once = [["abcab"], ["bcabc"], ["cabca"]]
    many = [group * 4 for group in once]
    first, second = _measure(once), _measure(many)
    for metric in first:
        if metric != "self-bleu-same-prompt":
            assert second[metric].value == pytest.approx(first[metric].value)
            assert second[metric].stderr == pytest.approx(first[metric].stderr)
    assert second["self-bleu-same-prompt"].value == pytest.approx(1)
    assert first["self-bleu-same-prompt"].reason == "there is one continuation per prompt"


def test_text_too_short_for_an_n_gram_does_not_count_and_is_no_zero() -> None:
    found = _measure([["ab"], ["abab"], ["aaaa"]])
    assert found["seq-rep-4"] == Estimate(0, 0, 2, (0.0, 0.0, 0.0), "")
    assert found["seq-rep-2"].num_continuations == 3
    short = _measure([["ab"], ["a"], [""]])
    assert short["seq-rep-4"] == Estimate(None, None, 0, (), "no continuation has 4 tokens")
    assert short["distinct-3"].reason == "no continuation has 3 tokens"
    assert short["self-bleu"].reason == "fewer than two continuations have 4 words in any set"
    assert short["tokens"].value == 1


def test_metric_of_a_single_prompt_has_a_value_and_no_error() -> None:
    found = _measure([["abcab"], [""]])["distinct-2"]
    assert (found.value, found.stderr, found.values) == (3 / 4, None, ())
    assert found.reason.startswith("too few prompts")


def test_metrics_are_named_once_for_every_order() -> None:
    names = ["tokens", *(f"distinct-{n}" for n in ORDERS), *(f"seq-rep-{n}" for n in ORDERS)]
    assert list(_measure([["ab"]])) == [*names, "self-bleu", "self-bleu-same-prompt"]


@pytest.mark.parametrize(
    ("tokens", "texts"), [([["a"]], []), ([["a"], []], [["a"], []]), ([["a"]], [["a", "b"]])]
)
def test_prompts_with_different_numbers_of_texts_are_refused(tokens: list, texts: list) -> None:
    with pytest.raises(ValueError, match="every prompt needs as many continuations"):
        text_quality(tokens, texts)
