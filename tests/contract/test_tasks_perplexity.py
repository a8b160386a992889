"""Perplexities and their standard errors: lm-eval's numbers, and error bars that cover."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from lm_eval.api.metrics import bits_per_byte
from lm_eval.api.metrics import weighted_perplexity as lm_eval_perplexity

from sentinel_research.errors import DataError, UsageError
from sentinel_research.evaluation.perplexity import (
    RollingLogLikelihood,
    Scored,
    bits_per_unit,
    bits_per_unit_stderr,
    leak_check,
    process_results,
    process_synthetic_results,
    weighted_perplexity,
    weighted_perplexity_stderr,
)

DOC = {"text": "two words", "num_words": 2, "num_bytes": 9}
RNG = np.random.default_rng(0)


def _windowed(log_likelihoods: np.ndarray, num_tokens: int = 10) -> RollingLogLikelihood:
    return RollingLogLikelihood(log_likelihoods.tolist(), [num_tokens] * len(log_likelihoods))


@pytest.mark.parametrize(
    "same", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copied_log_likelihood_keeps_its_windows(same) -> None:
    value = RollingLogLikelihood([-1.5, -2.0], [3, 1])
    assert same(value) == -3.5
    assert same(value).window_log_likelihoods == (-1.5, -2.0)
    assert same(value).window_num_tokens == (3, 1)


def test_log_likelihood_prints_and_dumps_as_a_float() -> None:
    value = RollingLogLikelihood([-1.5, -2.0], [3, 1])
    assert json.dumps(Scored(value, 2)) == "[-3.5, 2]"
    assert str(value) == repr(value) == "-3.5"
    assert RollingLogLikelihood([], []) == 0


def test_windows_without_token_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="2 log-likelihoods, 1 windows"):
        RollingLogLikelihood([-1.0, -2.0], [3])


def test_token_perplexity_needs_a_model_that_reports_windows() -> None:
    assert "token_perplexity" not in process_results(DOC, [-3.0])
    items = process_results(DOC, [RollingLogLikelihood([-1.0, -2.0], [3, 1])])
    assert items["token_perplexity"] == (-3.0, 4)
    assert weighted_perplexity([items["token_perplexity"]]) == pytest.approx(math.exp(3 / 4))


def test_standard_error_follows_its_metric() -> None:
    # lm-eval writes N/A under X_stderr when it meets X: ours has to come later
    names = list(process_results(DOC, [-3.0]))
    assert len(names) == 6
    assert names[1::2] == [f"{name}_stderr" for name in names[::2]]


def test_values_are_those_of_lm_eval() -> None:
    items = [
        Scored(-float(x), int(n)) for x, n in zip(RNG.uniform(5, 50, 7), range(1, 8), strict=True)
    ]
    assert weighted_perplexity(items) == pytest.approx(lm_eval_perplexity(items), rel=1e-15)
    assert bits_per_unit(items) == pytest.approx(bits_per_byte(items), rel=1e-15)


def test_synthetic_items_carry_the_source() -> None:
    doc = {**DOC, "log_prob": -2.0, "entropy": 2.2}
    items = process_synthetic_results(doc, [-3.0])
    assert weighted_perplexity([items["floor_perplexity"]]) == pytest.approx(math.exp(2.0 / 2))
    exact = items["floor_entropy_rate_perplexity"]
    assert weighted_perplexity([exact]) == pytest.approx(math.exp(2.2 / 2))
    assert (items["log_likelihood"], items["source_log_prob"]) == (-3.0, -2.0)
    assert "floor_entropy_rate_perplexity_stderr" not in items


def test_document_bootstrap_agrees_with_the_closed_form() -> None:
    losses = RNG.normal(20, 4, 300)
    items = [Scored(-loss, 10) for loss in losses]
    stderr_of_mean = losses.std(ddof=1) / 10 / math.sqrt(300)
    expected = weighted_perplexity(items) * stderr_of_mean
    # 1,000 resamples know a standard deviation to 1/sqrt(2000) = 2 %
    assert weighted_perplexity_stderr(items) == pytest.approx(expected, rel=0.1)
    assert bits_per_unit_stderr(items) == pytest.approx(stderr_of_mean / math.log(2), rel=0.1)
    assert weighted_perplexity_stderr(items) == weighted_perplexity_stderr(list(items))


def test_window_bootstrap_agrees_with_the_closed_form_for_independent_windows() -> None:
    losses = RNG.normal(20, 4, 2000)
    item = Scored(_windowed(-losses), 20_000)
    expected = weighted_perplexity([item]) * losses.std(ddof=1) / 10 / math.sqrt(2000)
    assert weighted_perplexity_stderr([item]) == pytest.approx(expected, rel=0.15)


def test_window_bootstrap_respects_neighbours_that_are_alike() -> None:
    # runs of 10 equal windows hold a tenth of the information
    losses = np.repeat(RNG.normal(20, 4, 200), 10)
    item = Scored(_windowed(-losses), 20_000)
    naive = weighted_perplexity([item]) * losses.std(ddof=1) / 10 / math.sqrt(2000)
    assert weighted_perplexity_stderr([item]) == pytest.approx(naive * math.sqrt(10), rel=0.15)


def test_words_of_a_window_are_taken_in_proportion_to_its_tokens() -> None:
    losses = RNG.normal(20, 4, 50)
    per_token = bits_per_unit_stderr([Scored(_windowed(-losses), 500)])
    per_word = bits_per_unit_stderr([Scored(_windowed(-losses), 250)])
    assert per_word == pytest.approx(2 * per_token)


@pytest.mark.parametrize(
    "items",
    [
        [Scored(-20.0, 10)],
        [Scored(-20.0, 10)] * 19,
        [Scored(_windowed(np.full(9, -20.0)), 90)],
        [Scored(_windowed(np.full(50, -20.0)), 90), Scored(-20.0, 10)],
    ],
    ids=["one document", "19 documents", "9 windows", "windows of some"],
)
def test_no_standard_error_where_there_is_too_little(items: list[Scored]) -> None:
    assert weighted_perplexity_stderr(items) == "N/A"
    assert bits_per_unit_stderr(items) == "N/A"


def test_empty_documents_count_as_in_lm_eval() -> None:
    items = [Scored(-float(x), 10) for x in RNG.uniform(10, 30, 25)]
    # lm-eval counts one word in an empty text, and no byte
    assert weighted_perplexity([*items, Scored(0.0, 0)]) == weighted_perplexity(items)
    assert weighted_perplexity([*items, Scored(0.0, 1)]) < weighted_perplexity(items)
    assert weighted_perplexity_stderr([*items, Scored(0.0, 0)]) == weighted_perplexity_stderr(items)


def test_all_empty_documents_are_an_error() -> None:
    with pytest.raises(DataError, match="2 evaluated documents are empty"):
        weighted_perplexity([Scored(0.0, 0), Scored(0.0, 0)])
    with pytest.raises(DataError):
        bits_per_unit([Scored(RollingLogLikelihood([], []), 0)])


def test_perplexity_beyond_a_double_is_infinite_and_has_no_error_bar() -> None:
    items = [Scored(-1000.0, 1)] * 30
    assert weighted_perplexity(items) == math.inf
    assert weighted_perplexity_stderr(items) == "N/A"
    assert bits_per_unit(items) == pytest.approx(1000 / math.log(2))


def test_honest_model_is_no_leak_and_a_clairvoyant_one_is() -> None:
    source = RNG.normal(-180, 10, 256)
    assert not leak_check(source - RNG.normal(1, 2, 256), source).is_leak
    assert not leak_check(source, source).is_leak
    leak = leak_check(source + RNG.normal(5, 2, 256), source)
    assert leak.is_leak
    assert leak.mean_difference_nats == pytest.approx(-5, abs=0.5)
    assert leak.z == pytest.approx(leak.mean_difference_nats / leak.stderr)
    assert leak_check(source + 1, source).is_leak


def test_leak_check_needs_pairs() -> None:
    with pytest.raises(UsageError):
        leak_check([-1.0, -2.0], [-1.0])
    with pytest.raises(UsageError):
        leak_check([-1.0], [-1.0])
