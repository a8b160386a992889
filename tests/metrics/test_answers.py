"""Exact match and F1 of answers: the official scripts, written down again, and clustered errors."""

import collections
import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel_research.errors import UsageError
from sentinel_research.metrics import answers
from sentinel_research.metrics.answers import Answerable, Clustered

WORDS = st.lists(
    st.sampled_from(["the", "A", "Norman's", "duchy,", "of", "in", "1066", "-", "  ", "an"]),
    max_size=6,
).map(" ".join)


def _official_normal(s: str) -> str:
    """normalize_answer of evaluate-v1.1.py and evaluate-v2.0.py."""
    exclude = set(string.punctuation)
    text = "".join(ch for ch in s.lower() if ch not in exclude)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def _official_f1_v1(prediction: str, ground_truth: str) -> float:
    prediction_tokens = _official_normal(prediction).split()
    ground_truth_tokens = _official_normal(ground_truth).split()
    common = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def _official_f1_v2(a_gold: str, a_pred: str) -> float:
    gold_toks = _official_normal(a_gold).split()
    pred_toks = _official_normal(a_pred).split()
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    return _official_f1_v1(a_pred, a_gold)


def _official_best(predictions, scores, probabilities, has_answer) -> tuple[float, float]:
    """find_best_thresh of evaluate-v2.0.py; questions by their place in a list."""
    cur_score = best_score = sum(1 for one in has_answer if not one)
    best_thresh = 0.0
    for qid in sorted(range(len(scores)), key=lambda k: probabilities[k]):
        of_nothing = -1 if predictions[qid] else 0
        diff = scores[qid] if has_answer[qid] else of_nothing
        cur_score += diff
        if cur_score > best_score:
            best_score = cur_score
            best_thresh = probabilities[qid]
    return 100.0 * best_score / len(scores), best_thresh


@given(WORDS, st.lists(WORDS, min_size=1, max_size=4))
def test_scores_of_squad_1_are_the_official_ones(given_: str, right: list[str]) -> None:
    found = answers.score_answer(given_, right)
    normal = _official_normal(given_)
    assert found.exact == max(normal == _official_normal(one) for one in right)
    # one rounding more or less
    expected = max(_official_f1_v1(given_, one) for one in right)
    assert found.f1 == pytest.approx(expected, rel=1e-12)


@given(WORDS, st.lists(WORDS, max_size=4))
def test_scores_of_squad_2_are_the_official_ones(given_: str, right: list[str]) -> None:
    gold = [one for one in right if _official_normal(one)] or [""]
    found = answers.score_answer_or_none(given_, right)
    assert found.exact == max(_official_normal(given_) == _official_normal(one) for one in gold)
    expected = max(_official_f1_v2(one, given_) for one in gold)
    assert found.f1 == pytest.approx(expected, rel=1e-12)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4).map(lambda k: k / 4),
            st.booleans(),
            st.booleans(),
            st.integers(0, 4).map(lambda k: k / 4),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_best_threshold_is_the_official_one(rows: list[tuple]) -> None:
    scores = [score if has else 0.0 for score, has, _, _ in rows]
    texts = ["text" if is_given else "" for _, _, is_given, _ in rows]
    has_answer = [has for _, has, _, _ in rows]
    probabilities = [p for _, _, _, p in rows]
    items = [
        Answerable(score, has, bool(text), p, "c")
        for score, has, text, p in zip(scores, has_answer, texts, probabilities, strict=True)
    ]
    expected, threshold = _official_best(texts, scores, probabilities, has_answer)
    assert answers.best_percent(items) == pytest.approx(expected, rel=1e-12)
    assert answers.best_threshold(items).probability == threshold


def test_normalisation_is_squads() -> None:
    assert answers.normalize("An apple, a day; THE Doctor's \n away") == "apple day doctors away"
    assert answers.normalize("the") == answers.normalize("!") == ""


def test_question_without_a_right_answer_is_refused_by_squad_1() -> None:
    with pytest.raises(UsageError, match="no right answer to compare 'Duchy' with"):
        answers.score_answer("Duchy", [])


def _questions(rng: np.random.Generator, num_texts: int, alike: float) -> list[Clustered]:
    """Twelve questions a text; `alike` is how far the texts differ."""
    return [
        Clustered(float(rng.random() < ability), f"text {number}")
        for number, ability in enumerate(0.5 + alike * (rng.random(num_texts) - 0.5))
        for _ in range(12)
    ]


@pytest.mark.parametrize("alike", [0.0, 1.0])
def test_error_of_questions_on_shared_texts_is_the_spread_of_new_texts(alike: float) -> None:
    rng = np.random.default_rng(0)
    samples = [_questions(rng, 30, alike) for _ in range(200)]
    spread = np.std([answers.percent(sample) for sample in samples])
    found = np.mean([answers.percent_stderr(sample) for sample in samples])
    # 200 samples know a spread to 5 percent; questions taken as independent would be a half of it
    assert found == pytest.approx(spread, rel=0.12)


def test_error_of_independent_questions_is_lm_evals() -> None:
    from lm_eval.api.metrics import mean_stderr

    values = np.random.default_rng(1).random(50)
    items = [Clustered(value, str(index)) for index, value in enumerate(values)]
    assert answers.mean_stderr(items) == pytest.approx(mean_stderr(values.tolist()), rel=1e-12)


def test_few_texts_have_no_standard_error() -> None:
    items = [Clustered(float(index % 2), str(index % 9)) for index in range(90)]
    assert answers.mean_stderr(items) == answers.percent_stderr(items) == "N/A"


def test_error_of_the_best_threshold_is_that_of_resampled_texts() -> None:
    rng = np.random.default_rng(2)
    items = []
    for number in range(400):
        has_answer = bool(rng.random() < 0.5)
        p = float(np.clip(rng.normal(0.4 if has_answer else 0.6, 0.2), 0, 1))
        items.append(Answerable(float(rng.random() < 0.6), has_answer, True, p, str(number // 2)))
    texts = [items[start : start + 2] for start in range(0, 400, 2)]
    resampled = [
        answers.best_percent([item for text in rng.integers(0, 200, 200) for item in texts[text]])
        for _ in range(600)
    ]
    # 600 resamples know it to 3 percent; the greatest of many thresholds spreads a little less
    assert answers.best_percent_stderr(items) == pytest.approx(np.std(resampled), rel=0.12)
