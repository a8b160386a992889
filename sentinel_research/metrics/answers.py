"""Exact match and F1 of answers in words, by the official scripts of SQuAD and ReCoRD.

References:
    [1] Rajpurkar, Zhang, Lopyrev, Liang, SQuAD: 100,000+ Questions (2016), section 6.1, and its
        evaluation script, version 1.1. https://rajpurkar.github.io/SQuAD-explorer/
    [2] Rajpurkar, Jia, Liang, Know What You Don't Know (2018), and its evaluation script, version
        2.0: an answer without words matches one without words, and nothing else.
    [3] Zhang et al., ReCoRD (2018), section 5.2: the better of all right answers, as in [1].
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sentinel_research.errors import UsageError
from sentinel_research.metrics.resampling import (
    StandardError,
    cluster_numbers,
    clustered_mean_stderr,
)

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class AnswerScore(NamedTuple):
    """How well an answer fits the best of the right ones, both in [0, 1]."""

    exact: float
    """1 if it equals one of them after normalisation."""
    f1: float
    """F1 of its words against those of the one that fits best."""


class Clustered(NamedTuple):
    """One number of a mean whose items come in clusters."""

    value: float
    """The number."""
    cluster: str
    """Which text it is about."""


class Threshold(NamedTuple):
    """The best mean score that a threshold on the probability of no answer allows."""

    score: float
    """Mean over all questions, in [0, 1]."""
    probability: float
    """Questions above it are left without an answer."""


class Answerable(NamedTuple):
    """What a threshold on the probability of no answer decides about, for one question."""

    score: float
    """Exact match or F1 of the answer, in [0, 1]."""
    has_answer: bool
    """Whether there is a right answer."""
    is_given: bool
    """Whether the prediction holds any text."""
    no_answer_probability: float
    """The model's, in [0, 1]."""
    cluster: str
    """Which text the question is about."""


def normalize(answer: str) -> str:
    """Lower case, without punctuation and articles, white space as single spaces [1].

    Example:
        >>> normalize("The  Norman's  Duchy!")
        'normans duchy'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def score_answer(prediction: str, answers: Sequence[str]) -> AnswerScore:
    """The better of all right answers, for SQuAD 1.1 [1] and ReCoRD [3].

    Args:
        prediction: The predicted text.
        answers: The right ones.

    Raises:
        UsageError: without a right answer.

    Example:
        >>> score_answer("the old Duchy", ["Duchy", "a duchy of old"])
        AnswerScore(exact=0.0, f1=0.8)
    """
    if not len(answers):
        raise UsageError(
            f"no right answer to compare '{prediction[:80]}' with",
            "Questions without one belong to squad_v2.",
        )
    return _best(prediction, answers, of_nothing=0.0)


def score_answers(
    given: Iterable[tuple[str, Sequence[str], str]],
) -> tuple[list["Clustered"], list["Clustered"]]:
    """Exact matches and F1 of many answers, see `score_answer`.

    Args:
        given: Of each the predicted text, the right ones, and its cluster.
    """
    scored = [(score_answer(text, right), cluster) for text, right, cluster in given]
    return (
        [Clustered(score.exact, cluster) for score, cluster in scored],
        [Clustered(score.f1, cluster) for score, cluster in scored],
    )


def score_answer_or_none(prediction: str, answers: Sequence[str]) -> AnswerScore:
    """The better of all right answers, or whether none was given where there is none [2].

    Args:
        prediction: The predicted text; empty for no answer.
        answers: The right ones; none if the question has no answer.

    Example:
        >>> score_answer_or_none("", []), score_answer_or_none("Duchy", [])
        (AnswerScore(exact=1.0, f1=1.0), AnswerScore(exact=0.0, f1=0.0))
    """
    # an answer of articles and punctuation alone is none
    with_words = [answer for answer in answers if normalize(answer)]
    return _best(prediction, with_words or [""], of_nothing=1.0)


def percent(items: Sequence[Clustered]) -> float:
    """Mean of values in [0, 1], in percent as the official scripts have it."""
    return 100 * mean(items)


def percent_stderr(items: Sequence[Clustered]) -> StandardError:
    """Standard error of `percent`, of whole clusters."""
    found = mean_stderr(items)
    return found if isinstance(found, str) else 100 * found


def mean(items: Sequence[Clustered]) -> float:
    """Mean of the values.

    Raises:
        UsageError: without items.
    """
    if not len(items):
        raise UsageError("no answers to take the mean of", "Give at least one.")
    return float(np.mean([item[0] for item in items]))


def mean_stderr(items: Sequence[Clustered]) -> StandardError:
    """Standard error of `mean`, of whole clusters; "N/A" below 10 of them."""
    values = np.array([float(item[0]) for item in items])
    return clustered_mean_stderr(values, cluster_numbers(item[1] for item in items))


def best_threshold(items: Sequence[Answerable]) -> Threshold:
    """The threshold on the probability of no answer that raises the mean most, as in [2].

    Questions are answered in the order of that probability, one after the other: an answer adds its
    score, and one to a question without answer takes the point away that silence has.

    Raises:
        UsageError: without items.

    Example:
        >>> best_threshold([Answerable(1.0, True, True, 0.2, "a"),
        ...                 Answerable(0.0, False, True, 0.9, "a")])
        Threshold(score=1.0, probability=0.2)
    """
    if not len(items):
        raise UsageError("no answers to find a threshold for", "Give at least one.")
    answerable = [Answerable(*item) for item in items]
    ordered = sorted(answerable, key=lambda item: item.no_answer_probability)
    score = best = float(sum(not item.has_answer for item in ordered))
    threshold = 0.0
    for item in ordered:
        score += item.score if item.has_answer else -float(item.is_given)
        if score > best:
            best, threshold = score, item.no_answer_probability
    return Threshold(best / len(ordered), threshold)


def best_percent(items: Sequence[Answerable]) -> float:
    """The score of `best_threshold`, in percent."""
    return 100 * best_threshold(items).score


def best_percent_stderr(items: Sequence[Answerable]) -> StandardError:
    """Standard error of `best_percent`, in closed form, of whole clusters.

    The threshold is taken as fixed: where the mean is greatest, it does not change with the
    threshold to first order.
    """
    threshold = best_threshold(items).probability
    return percent_stderr([_decided(Answerable(*item), threshold) for item in items])


def _decided(item: Answerable, threshold: float) -> Clustered:
    is_answered = item.no_answer_probability <= threshold
    if item.has_answer:
        return Clustered(item.score if is_answered else 0.0, item.cluster)
    return Clustered(float(not (is_answered and item.is_given)), item.cluster)


def _best(prediction: str, answers: Sequence[str], *, of_nothing: float) -> AnswerScore:
    given = normalize(prediction)
    right = [normalize(answer) for answer in answers]
    exact = max(float(given == one) for one in right)
    return AnswerScore(exact, max(_f1(given.split(), one.split(), of_nothing) for one in right))


def _f1(given: Sequence[str], right: Sequence[str], of_nothing: float) -> float:
    """F1 of two bags of words; `of_nothing` if both are empty."""
    if not given and not right:
        return of_nothing
    num_same = sum((Counter(given) & Counter(right)).values())
    return 2 * num_same / (len(given) + len(right))
