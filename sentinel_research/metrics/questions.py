"""MultiRC: each question has several answers, each of which is right or wrong.

Questions on one paragraph are not independent, nor are the answers to one question: standard errors
are of whole paragraphs.

Reference:
    [1] Khashabi et al., Looking Beyond the Surface (2018), section 5.1.
        https://doi.org/10.18653/v1/N18-1023
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from sentinel_research.errors import UsageError
from sentinel_research.metrics.resampling import (
    StandardError,
    cluster_numbers,
    clustered_stderr,
)


class Option(NamedTuple):
    """One answer to a question."""

    paragraph: int
    """Which paragraph the question is about."""
    question: int
    """Which question of that paragraph, or of all."""
    is_right: bool
    """Whether the answer is right."""
    is_chosen: bool
    """Whether it was predicted to be right."""


class Sums(NamedTuple):
    """Sums over options and questions, one or many of each."""

    hits: Shaped[np.ndarray, "..."]
    """Options that are right and chosen."""
    marked: Shaped[np.ndarray, "..."]
    """Options that are right, plus options that are chosen."""
    solved: Shaped[np.ndarray, "..."]
    """Questions all of whose options were predicted as they are."""
    questions: Shaped[np.ndarray, "..."]
    """Questions."""


def f1_of_options(items: Sequence[Option]) -> float:
    """F1a [1]: F1 of the right options of all questions together.

    Example:
        >>> f1_of_options([Option(0, 0, True, True), Option(0, 0, False, True)])
        0.6666666666666666
    """
    return float(f1_of_sums(_total(items)))


def exact_questions(items: Sequence[Option]) -> float:
    """Part of the questions all of whose options were predicted as they are (EM) [1].

    Example:
        >>> exact_questions([Option(0, 0, True, True), Option(0, 1, False, True)])
        0.5
    """
    return float(exact_of_sums(_total(items)))


def multirc_score(items: Sequence[Option]) -> float:
    """SuperGLUE's score of MultiRC: the mean of both."""
    return float(score_of_sums(_total(items)))


def f1_of_options_stderr(items: Sequence[Option]) -> StandardError:
    """Bootstrap standard error of `f1_of_options`; "N/A" below 10 paragraphs."""
    return _stderr(items, f1_of_sums)


def exact_questions_stderr(items: Sequence[Option]) -> StandardError:
    """Bootstrap standard error of `exact_questions`; "N/A" below 10 paragraphs."""
    return _stderr(items, exact_of_sums)


def multirc_score_stderr(items: Sequence[Option]) -> StandardError:
    """Bootstrap standard error of `multirc_score`; "N/A" below 10 paragraphs."""
    return _stderr(items, score_of_sums)


def f1_of_sums(sums: Sums) -> Any:
    return 2 * sums.hits / np.maximum(sums.marked, 1)


def exact_of_sums(sums: Sums) -> Any:
    return sums.solved / sums.questions


def score_of_sums(sums: Sums) -> Any:
    return (f1_of_sums(sums) + exact_of_sums(sums)) / 2


def _total(items: Sequence[Option]) -> Sums:
    if not len(items):
        raise UsageError("no options to score", "Give at least one.")
    return Sums(*sums_by_paragraph(items).sum(0))


def sums_by_paragraph(items: Sequence[Option]) -> Float[np.ndarray, "paragraphs 4"]:
    """The fields of `Sums`, for each paragraph."""
    options = [Option(*item) for item in items]
    paragraphs = cluster_numbers(option.paragraph for option in options)
    questions = cluster_numbers((option.paragraph, option.question) for option in options)
    right = np.array([option.is_right for option in options], dtype=bool)
    chosen = np.array([option.is_chosen for option in options], dtype=bool)
    mistakes = np.bincount(questions, weights=right != chosen)
    # the paragraph of each question: that of its first option
    owner = paragraphs[np.unique(questions, return_index=True)[1]]
    num_paragraphs = int(paragraphs.max()) + 1
    columns = [
        np.bincount(paragraphs, weights=right & chosen),
        np.bincount(paragraphs, weights=right.astype(int) + chosen),
        np.bincount(owner, weights=mistakes == 0, minlength=num_paragraphs),
        np.bincount(owner, minlength=num_paragraphs),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _stderr(items: Sequence[Option], statistic: Callable[[Sums], Any]) -> StandardError:
    return clustered_stderr(sums_by_paragraph(items), lambda sums: statistic(Sums(*sums.T)))
