"""`{model}_downstream.json`: the published field names, and what they lacked.

Scores are those of the official metrics, from 0 to 1 (correlations from -1), means over seeds.
What was not asked for is null; what failed is listed, and no field has a default number.
"""

from typing import Any, Literal

from sentinel_research.specs.base import Frozen

RESULT_VERSION = 1

DEFINITIONS = {
    "glue, superglue": "score of each task after fine-tuning on its training documents: its "
    "official metric, or the mean of its two; `average` is the mean of all scores; the official "
    "one where every task of the family is there",
    "squad": "exact match and F1 of SQuAD 1.1 as shares; `dataset_size` is the number of training "
    "documents that were used, held-out ones included",
    "mmlu": "accuracy over all questions, and by subject, of one model fine-tuned on the "
    "training documents of all subjects",
    "other": "score of every other task, or its first metric, as the task gives it",
    "before": "the same scores of the models as they came",
    "majority": "the same scores of the most frequent answer of the training documents",
    "seeds": "the same score of every task by seed, in the order of `seed_values`",
    "intervals": "mean, standard deviation (n - 1) and 95% Student's t interval over seeds",
}
"""What every field means, written into every file."""


class _Part(Frozen, allow_inf_nan=False):
    """Strict JSON: no NaN, no infinity."""


class Squad(_Part):
    """SQuAD 1.1."""

    em: float
    f1: float
    dataset_size: int


class Mmlu(_Part):
    """MMLU."""

    accuracy: float | None
    """Null where a subject was not measured."""
    subject_scores: dict[str, float]
    num_subjects_evaluated: int


class ScoreInterval(_Part):
    """One score over seeds."""

    mean: float
    sd: float | None
    """Null for one seed."""
    low: float | None
    """Of the 95% interval of the mean; null for one seed."""
    high: float | None
    stderr_over_documents: float | None
    against_majority: str


class DownstreamResult(_Part):
    """The content of the file."""

    glue: dict[str, float] | None
    superglue: dict[str, float] | None
    squad: Squad | None
    mmlu: Mmlu | None
    other: dict[str, float]
    """Tasks of no family."""
    model_name: str
    schema_version: int
    status: Literal["done", "failed"]
    seed_values: list[int]
    seeds: dict[str, list[float]]
    intervals: dict[str, ScoreInterval]
    before: dict[str, float]
    majority: dict[str, float]
    failed: dict[str, str]
    """Cell -> error."""
    config: dict[str, Any]
    """Every flag or setting of the fine-tuning."""
    definitions: dict[str, str]
    provenance: dict[str, Any]
