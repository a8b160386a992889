"""MultiRC: SuperGLUE's definitions, written down again, and errors of whole paragraphs."""

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from sentinel_research.errors import UsageError
from sentinel_research.metrics import questions
from sentinel_research.metrics.questions import Option

OPTIONS = st.lists(
    st.builds(Option, st.integers(0, 3), st.integers(0, 2), st.booleans(), st.booleans()),
    min_size=1,
    max_size=30,
)


def _official(items: list[Option]) -> tuple[float, float]:
    """F1a and EM of SuperGLUE's script: options under the name of their question."""
    by_question = collections.defaultdict(list)
    for item in items:
        by_question[f"{item.paragraph}-{item.question}"].append((item.is_chosen, item.is_right))
    ems = [
        int(sum(chosen == right for chosen, right in pairs) == len(pairs))
        for pairs in by_question.values()
    ]
    labels = [item.is_right for item in items]
    chosen = [item.is_chosen for item in items]
    return f1_score(labels, chosen, zero_division=0), sum(ems) / len(ems)


@given(OPTIONS)
def test_values_are_the_official_ones(items: list[Option]) -> None:
    f1a, exact = _official(items)
    assert questions.f1_of_options(items) == pytest.approx(f1a, rel=1e-12)
    assert questions.exact_questions(items) == pytest.approx(exact, rel=1e-12)
    assert questions.multirc_score(items) == pytest.approx((f1a + exact) / 2, rel=1e-12)


@given(OPTIONS, st.randoms(use_true_random=False))
def test_order_of_the_options_does_not_matter(items: list[Option], random) -> None:
    shuffled = random.sample(items, len(items))
    # sums of whole numbers
    assert questions.multirc_score(shuffled) == questions.multirc_score(items)


def _reading(num_paragraphs: int, seed: int) -> list[Option]:
    """Five questions a paragraph, four options each; paragraphs differ in how hard they are."""
    rng = np.random.default_rng(seed)
    found = []
    for paragraph in range(num_paragraphs):
        ability = 0.75 + 0.25 * rng.random()
        for question in range(5):
            for right in rng.random(4) < 0.45:
                is_hit = rng.random() < ability
                found.append(Option(paragraph, question, bool(right), bool(right == is_hit)))
    return found


def test_standard_errors_are_those_of_resampled_paragraphs() -> None:
    items = _reading(25, seed=0)
    paragraphs = [[item for item in items if item.paragraph == place] for place in range(25)]
    rng = np.random.default_rng(1)
    names = ("f1_of_options", "exact_questions", "multirc_score")
    resampled = []
    for _ in range(400):
        # a paragraph that is drawn twice is two paragraphs
        copies = [
            item._replace(paragraph=number)
            for number, place in enumerate(rng.integers(0, 25, 25))
            for item in paragraphs[place]
        ]
        resampled.append([getattr(questions, name)(copies) for name in names])
    found = [getattr(questions, f"{name}_stderr")(items) for name in names]
    # 400 resamples know it to 3.5 percent
    assert found == pytest.approx(np.std(resampled, axis=0), rel=0.1)


def test_few_paragraphs_have_no_standard_error() -> None:
    assert questions.exact_questions_stderr(_reading(9, seed=0)) == "N/A"
    assert questions.exact_questions_stderr(_reading(10, seed=0)) > 0


def test_no_options_are_refused() -> None:
    with pytest.raises(UsageError, match="no options"):
        questions.f1_of_options([])
