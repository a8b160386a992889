"""What a model's answers are worth, as functions that the YAML of benchmark tasks names.

`process_results` functions turn the answers to one document into items, and functions of the
metrics package turn items into a number. A metric named `X_stderr` takes the place of the standard
error that lm-eval would print for `X`, which costs it minutes or is missing; where there is none,
lm-eval's closed form of a mean is right. `score` is the one number of a task that GLUE and
SuperGLUE average: its metric, or the mean of its two.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from sentinel_research.data.benchmarks import SOURCE_COLUMN
from sentinel_research.metrics import answers, classification, correlation, questions
from sentinel_research.metrics.resampling import StandardError, table_stderr

NO_ANSWER = "unanswerable"
"""What lm-eval's squadv2 shows as the answer to a question without one."""

Answers = Sequence[tuple[float, bool]]
"""Log-likelihood of each choice, and whether it is the most likely text."""


class Classified(NamedTuple):
    """One document of a classification task."""

    right: int
    """Its class."""
    given: int
    """The class of the most likely choice."""


class Similarity(NamedTuple):
    """One document of STS-B."""

    right: float
    """The similarity that people gave, 0 to 5."""
    given: float
    """The mean of the choices 0 to 5, weighted by their probabilities."""


class Hit(NamedTuple):
    """One document of a task that is the mean of two."""

    value: float
    """1 if its class was given."""
    part: str
    """Which of the two it is from."""


def accuracy_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For tasks whose one metric is accuracy."""
    hit = float(_chosen(results) == doc["label"])
    return {"acc": hit, "score": hit}


def matthews_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For CoLA."""
    return _with_stderr({"mcc": _classified(doc, results), "score": _classified(doc, results)})


def f1_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For MRPC, QQP and CB: accuracy and F1."""
    item = _classified(doc, results)
    return {
        "acc": float(item.right == item.given),
        **_with_stderr({"f1": item, "score": item}),
    }


def similarity_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For STS-B, whose choices are the numbers 0 to 5."""
    log_likelihoods = np.array([log_likelihood for log_likelihood, _ in results])
    weights = np.exp(log_likelihoods - log_likelihoods.max())
    given = float(weights @ np.arange(len(weights)) / weights.sum())
    item = Similarity(float(doc["label"]), given)
    return _with_stderr({"pearson": item, "spearman": item, "score": item})


def mnli_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For MNLI's two evaluation splits together."""
    hit = float(_chosen(results) == doc["label"])
    part = doc[SOURCE_COLUMN].removeprefix("validation_")
    return {f"acc_{part}": hit, **_with_stderr({"score": Hit(hit, part)})}


def multirc_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For MultiRC, whose first choice says that the answer is right."""
    is_chosen, is_right = _chosen(results) == 0, doc["label"] == 1
    item = questions.Option(doc["idx"]["paragraph"], doc["idx"]["question"], is_right, is_chosen)
    return {
        "acc": float(is_right == is_chosen),
        **_with_stderr({"f1a": item, "em": item, "score": item}),
    }


def record_items(doc: Mapping[str, Any], results: Answers) -> dict[str, Any]:
    """For ReCoRD, whose choices are the query with each entity of the passage in it."""
    given = record_entities(doc)[_chosen(results)]
    found = answers.score_answer(given, doc["answers"])
    passage = _short(doc["passage"])
    items = {"f1": found.f1, "em": found.exact, "score": (found.f1 + found.exact) / 2}
    return _with_stderr({name: answers.Clustered(value, passage) for name, value in items.items()})


def record_entities(doc: Mapping[str, Any]) -> list[str]:
    """The entities that a query of ReCoRD can be about, in the order of its choices."""
    return sorted(set(doc["entities"]))


def squad_items(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """For SQuAD 1.1."""
    found = answers.score_answer(results[0].strip(), doc["answers"]["text"])
    context = _short(doc["context"])
    return _with_stderr(
        {
            "exact_match": answers.Clustered(found.exact, context),
            "f1": answers.Clustered(found.f1, context),
        }
    )


def squad_v2_items(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """For SQuAD 2.0: the generated text, and the log-likelihood of `unanswerable` in its place."""
    text, (log_likelihood, _) = results
    # the word that the examples give where there is no answer
    given = "" if answers.normalize(text) == NO_ANSWER else text.strip()
    has_answer = bool(doc["answers"]["text"])
    context = _short(doc["context"])
    part = "HasAns" if has_answer else "NoAns"
    items: dict[str, Any] = {}
    found = answers.score_answer_or_none(given, doc["answers"]["text"])
    for name, value in found._asdict().items():
        items[name] = items[f"{part}_{name}"] = answers.Clustered(value, context)
        items[f"best_{name}"] = answers.Answerable(
            value, has_answer, bool(given), math.exp(log_likelihood), context
        )
    return _with_stderr(items)


def matthews(items: Sequence[Classified]) -> float:
    """Matthews correlation of two classes."""
    return float(classification.matthews_correlation(_table(items, 2)))


def matthews_stderr(items: Sequence[Classified]) -> StandardError:
    """Standard error of `matthews`."""
    return table_stderr(_table(items, 2), classification.matthews_correlation)


def f1(items: Sequence[Classified]) -> float:
    """F1 of class 1 of two."""
    return float(classification.binary_f1(_table(items, 2)))


def f1_stderr(items: Sequence[Classified]) -> StandardError:
    """Standard error of `f1`."""
    return table_stderr(_table(items, 2), classification.binary_f1)


def accuracy_and_f1(items: Sequence[Classified]) -> float:
    """Mean of accuracy and F1."""
    return float(_ACCURACY_AND_F1(_table(items, 2)))


def accuracy_and_f1_stderr(items: Sequence[Classified]) -> StandardError:
    """Standard error of `accuracy_and_f1`, whose parts go together."""
    return table_stderr(_table(items, 2), _ACCURACY_AND_F1)


def macro_f1(items: Sequence[Classified]) -> float:
    """Mean of the F1 of three classes."""
    return float(classification.macro_f1(_table(items, 3)))


def macro_f1_stderr(items: Sequence[Classified]) -> StandardError:
    """Standard error of `macro_f1`."""
    return table_stderr(_table(items, 3), classification.macro_f1)


def accuracy_and_macro_f1(items: Sequence[Classified]) -> float:
    """Mean of accuracy and the mean F1 of three classes."""
    return float(_ACCURACY_AND_MACRO_F1(_table(items, 3)))


def accuracy_and_macro_f1_stderr(items: Sequence[Classified]) -> StandardError:
    """Standard error of `accuracy_and_macro_f1`, whose parts go together."""
    return table_stderr(_table(items, 3), _ACCURACY_AND_MACRO_F1)


def pearson(items: Sequence[Similarity]) -> float:
    """Pearson's correlation; NaN for a single document."""
    return correlation.pearson(*_sides(items))


def pearson_stderr(items: Sequence[Similarity]) -> StandardError:
    """Standard error of `pearson`."""
    return correlation.pearson_stderr(*_sides(items))


def spearman(items: Sequence[Similarity]) -> float:
    """Spearman's correlation; NaN for a single document."""
    return correlation.spearman(*_sides(items))


def spearman_stderr(items: Sequence[Similarity]) -> StandardError:
    """Standard error of `spearman`."""
    return correlation.spearman_stderr(*_sides(items))


def mean_correlation(items: Sequence[Similarity]) -> float:
    """Mean of both correlations."""
    return correlation.mean_correlation(*_sides(items))


def mean_correlation_stderr(items: Sequence[Similarity]) -> StandardError:
    """Standard error of `mean_correlation`, whose parts go together."""
    return correlation.mean_correlation_stderr(*_sides(items))


def mean_of_parts(items: Sequence[Hit]) -> float:
    """Mean of the means of all parts, whatever their sizes."""
    return float(np.mean([np.mean(values) for values in _parts(items)]))


def mean_of_parts_stderr(items: Sequence[Hit]) -> StandardError:
    """Standard error of `mean_of_parts`; "N/A" if a part has a single document."""
    parts = _parts(items)
    if min(len(values) for values in parts) < 2:
        return "N/A"
    return math.sqrt(sum(np.var(part, ddof=1) / len(part) for part in parts)) / len(parts)


def _chosen(results: Answers) -> int:
    """The most likely choice, the first of equals, as in lm-eval."""
    return int(np.argmax([log_likelihood for log_likelihood, _ in results]))


def _classified(doc: Mapping[str, Any], results: Answers) -> Classified:
    return Classified(int(doc["label"]), _chosen(results))


def _with_stderr(items: Mapping[str, Any]) -> dict[str, Any]:
    """Each item twice; the metric comes first, so that lm-eval keeps our standard error."""
    return {name: item for metric, item in items.items() for name in (metric, f"{metric}_stderr")}


def _table(items: Sequence[Classified], num_classes: int) -> Int[np.ndarray, "classes classes"]:
    return classification.confusion_table(*_sides(items), num_classes)


def _sides(items: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """What was right, and what was given."""
    return [right for right, _ in items], [given for _, given in items]


def _parts(items: Sequence[Hit]) -> list[list[float]]:
    found: dict[str, list[float]] = {}
    for value, part in items:
        found.setdefault(part, []).append(value)
    return list(found.values())


def _short(text: str) -> str:
    """A name for a text, so that samples need not hold it again."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_ACCURACY_AND_F1 = classification.mean_of(classification.accuracy, classification.binary_f1)
_ACCURACY_AND_MACRO_F1 = classification.mean_of(classification.accuracy, classification.macro_f1)
