"""How often models without a difference are judged different, and models with one are found."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sentinel_research.evaluation.perplexity import Scored
from sentinel_research.judgement.compare import Outcome, judge, verdict_on
from sentinel_research.judgement.samples import Scores
from sentinel_research.judgement.units import pair_up
from sentinel_research.paired import detectable_shift
from sentinel_research.specs import JudgementSpec

pytestmark = pytest.mark.long

NUM_PAIRS = 1000
# p of 199 swaps are multiples of 0.01: those of at most 0.05 have a chance of exactly 5 in 100
SPEC = JudgementSpec(num_resamples=199, level=0.0501)
Draw = Callable[[np.random.Generator], Outcome]


def _outcome(
    first: np.ndarray,
    second: np.ndarray,
    aggregation: str = "mean",
    clusters: np.ndarray | None = None,
    units: np.ndarray | None = None,
) -> Outcome:
    """One pair through everything behind the reading of samples."""
    names = tuple(map(str, range(len(first))))
    found = []
    for values in (first, second):
        counts = np.ones(len(values)) if units is None else units
        texts = None if units is None else tuple(map(Scored, values.tolist(), units.tolist()))
        of = None if clusters is None else tuple(map(str, clusters))
        found.append(Scores(names, np.stack([values, counts], axis=1), of, texts))
    return judge(pair_up(found[0], found[1], aggregation), SPEC, "task/metric")


def _continuous(rng: np.random.Generator, shift: float = 0.0) -> Outcome:
    """F1 of answers, say: skewed, and alike for both models."""
    shared = rng.exponential(size=40)
    first, second = (shared + rng.exponential(0.5, size=40) for _ in range(2))
    return _outcome(first, second + shift)


def _perplexity(rng: np.random.Generator) -> Outcome:
    """Texts of very different lengths."""
    units = np.ceil(rng.lognormal(4, 0.7, size=40))
    hardness = rng.normal(3.0, 0.3, size=40)
    first, second = (-units * (hardness + rng.normal(0, 0.1, size=40)) for _ in range(2))
    return _outcome(first, second, "weighted_perplexity", units=units)


_TEXTS = np.repeat(np.arange(30), 5)


def _on_texts(rng: np.random.Generator) -> list[np.ndarray]:
    """Right and wrong answers to five questions on a text each, which a model reads well or not."""
    return [
        (rng.uniform(size=150) < rng.beta(0.5, 0.5, size=30)[_TEXTS]).astype(float)
        for _ in range(2)
    ]


def _clustered(rng: np.random.Generator) -> Outcome:
    return _outcome(*_on_texts(rng), clusters=_TEXTS)


def _binary(rng: np.random.Generator) -> Outcome:
    """Right and wrong answers to questions of their own."""
    hardness = rng.uniform(size=200)
    first, second = ((rng.uniform(size=200) < hardness).astype(float) for _ in range(2))
    return _outcome(first, second)


def _verdicts(draw: Draw, seed: int, num_pairs: int = NUM_PAIRS) -> Counter[str]:
    rng = np.random.default_rng(seed)
    drawn = (draw(rng) for _ in range(num_pairs))
    return Counter(
        verdict_on(one.resampled.difference, one.tested.p_value, SPEC.level, higher_is_better=True)
        for one in drawn
    )


@pytest.mark.parametrize("draw", [_continuous, _perplexity, _clustered])
def test_five_in_a_hundred_pairs_without_a_difference_have_a_verdict(draw: Draw) -> None:
    assert draw(np.random.default_rng(0)).tested.test == "permutation"
    found = _verdicts(draw, 1)
    low, high = stats.binom.interval(0.999, NUM_PAIRS, 0.05)
    assert low <= found["better"] + found["worse"] <= high
    # and as many on either side
    low, high = stats.binom.interval(0.999, NUM_PAIRS, 0.025)
    assert low <= found["worse"] <= high


def test_mcnemar_has_no_more_verdicts_without_a_difference() -> None:
    # exact: at most 5 in 100, and less where few documents tell the models apart
    assert _binary(np.random.default_rng(0)).tested.test == "exact McNemar"
    found = _verdicts(_binary, 1)
    _, high = stats.binom.interval(0.999, NUM_PAIRS, 0.05)
    assert 0 < found["better"] + found["worse"] <= high


def test_documents_of_a_cluster_taken_alone_would_mislead() -> None:
    num_pairs = 200
    found = _verdicts(lambda rng: _outcome(*_on_texts(rng)), 1, num_pairs)
    _, high = stats.binom.interval(0.999, num_pairs, 0.05)
    assert found["better"] + found["worse"] > high


def test_detectable_difference_is_found_four_times_in_five() -> None:
    # of two exponentials of mean 1/2: the difference's spread is sqrt(2) / 2
    planted = detectable_shift(40, 0.05) * (2 * 0.5**2 / 40) ** 0.5
    found = _verdicts(lambda rng: _continuous(rng, planted), 2)
    low, high = stats.binom.interval(0.999, NUM_PAIRS, 0.8)
    assert low <= found["better"] <= high


def test_reported_detectable_difference_is_the_true_one() -> None:
    rng = np.random.default_rng(3)
    found = [_continuous(rng).resampled.stderr for _ in range(200)]
    # a bootstrap of 40 documents is (39 / 40)^0.5 too narrow; the rest is chance
    assert np.mean(found) == pytest.approx((2 * 0.5**2 / 40) ** 0.5, rel=0.05)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    found = [_continuous(rng, 0.2).resampled for _ in range(NUM_PAIRS)]
    covered = sum(one.low <= 0.2 <= one.high for one in found)
    # bootstraps of 40 documents and 199 resamples are known to be a little narrow
    assert 0.91 <= covered / NUM_PAIRS <= 0.97
