"""The per-document samples of a measured cell, held against the cell's record."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sentinel_research.errors import UsageError
from sentinel_research.evaluation.harness import task_hash
from sentinel_research.evaluation.perplexity import RollingLogLikelihood, Scored
from sentinel_research.evaluation.samples import read_samples
from sentinel_research.judgement.aggregates import AGGREGATES, PER_UNIT, aggregation_name
from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.judgement.subjects import Subject
from sentinel_research.reporting.estimates import Metric

AGAIN = "measure the model again with this version"
Rows = list[dict[str, Any]]
_TEXTS = {"doc", "arguments", "target", "resps", "filtered_resps"}
"""Most of the bytes of a row, and nothing that a metric reads."""


class Scores(NamedTuple):
    """What a metric reads of a cell's documents, in an order that depends on them alone."""

    names: tuple[str, ...]
    """Hash and place of each document."""
    items: Float[np.ndarray, "items columns"]
    """An item a document, encoded."""
    clusters: tuple[str, ...] | None
    """What each document shares with others; null if the task does not say."""
    texts: tuple[Scored, ...] | None
    """Log-likelihoods with their windows, where those are known; null for other metrics."""


def read_rows(subject: Subject, task: str) -> Rows:
    """The samples of a task, without their texts.

    Raises:
        NotComparableError: if there are none, or they are not those of the record.
    """
    evaluation = subject.evaluation
    name = evaluation.samples.get(task)
    if name is None or subject.folder is None:
        why = "its record keeps no samples per document" if name is None else "it is kept alone"
        raise NotComparableError("no samples", f"{subject.name}: {why}; {AGAIN}")
    path = subject.folder / name
    try:
        whole = read_samples(path)
        found = task_hash(whole)
        rows = [{key: row[key] for key in row.keys() - _TEXTS} for row in whole]
    except FileNotFoundError as error:
        raise NotComparableError("no samples", f"{path} is missing; {AGAIN}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotComparableError(
            "damaged samples", f"{path} cannot be read ({type(error).__name__}: {error}); {AGAIN}"
        ) from error
    if found != evaluation.task_hashes[task]:
        raise NotComparableError(
            "damaged samples",
            f"{path} holds the documents {found}, its record says {evaluation.task_hashes[task]}; "
            f"{AGAIN}",
        )
    return rows


def aggregation_of(subject: Subject, task: str, metric: str) -> str:
    """The name of the function that makes the metric.

    Raises:
        NotComparableError: if the record does not say, or it is none that is known here.
    """
    name = _aggregations(subject, task).get(metric, "")
    if name not in AGGREGATES:
        raise NotComparableError(
            "aggregation",
            f"{subject.name} aggregates by {name or 'a function that its record does not name'}; "
            f"known are {', '.join(sorted(AGGREGATES))}",
        )
    return name


def scores_of(subject: Subject, task: str, metric: Metric, rows: Rows) -> Scores:
    """What a metric reads of a task's samples.

    Args:
        subject: Whose samples they are.
        task: The task.
        metric: Its metric, with lm-eval's filter.
        rows: From `read_rows`.

    Raises:
        NotComparableError: if an item is not what the metric takes.
    """
    aggregation = aggregation_of(subject, task, metric.name)
    encode = AGGREGATES[aggregation].encode
    own = [row for row in rows if row.get("filter") == metric.filter and metric.name in row]
    try:
        names = [f"{row['doc_hash']}-{row['doc_id']}" for row in own]
        clusters = _clusters(own, _aggregations(subject, task))
        # by name, so that the same documents in another order give the same numbers
        order = sorted(
            range(len(own)), key=lambda at: (clusters[at] if clusters else "", names[at])
        )
        items = np.array([encode(own[at][metric.name]) for at in order], dtype=np.float64)
        texts = [_text(own[at], metric.name) for at in order] if aggregation in PER_UNIT else None
    except (TypeError, ValueError, IndexError, KeyError, UsageError) as error:
        raise NotComparableError(
            "damaged samples",
            f"an item in the samples of {subject.name} is none of {aggregation} "
            f"({type(error).__name__}: {error}); {AGAIN}",
        ) from error
    return Scores(
        tuple(names[at] for at in order),
        items,
        tuple(clusters[at] for at in order) if clusters else None,
        tuple(texts) if texts is not None else None,
    )


def _aggregations(subject: Subject, task: str) -> dict[str, str]:
    """The function of every metric that the task's configuration names."""
    config = subject.evaluation.lm_eval.get("configs", {}).get(task, {})
    entries = config.get("metric_list", ())
    return {entry["metric"]: aggregation_name(entry) for entry in entries}


def _clusters(rows: Rows, aggregations: dict[str, str]) -> list[str] | None:
    """What each document shares with others, by any metric of the task that says it."""
    for metric, name in aggregations.items():
        cluster = AGGREGATES[name].cluster if name in AGGREGATES else None
        if cluster is not None and rows and all(metric in row for row in rows):
            found = [cluster(row[metric]) for row in rows]
            if None not in found:
                return [str(one) for one in found]
    return None


def _text(row: dict[str, Any], metric: str) -> Scored:
    """A text's log-likelihood, with its windows if the samples have them."""
    log_likelihood, num_units = row[metric]
    if "window_num_tokens" in row:
        windows = RollingLogLikelihood(row["window_log_likelihoods"], row["window_num_tokens"])
        return Scored(windows, float(num_units))
    return Scored(float(log_likelihood), float(num_units))
