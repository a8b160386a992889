"""What is resampled and permuted: the partition that the metric's own standard error uses.

Texts of a perplexity: whole documents if there are at least 20, else blocks of consecutive windows
(`evaluation.perplexity.partition`). Documents that share a source, as the task says it (questions
on one paragraph): their clusters. All others: documents.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sentinel_research.evaluation.perplexity import MIN_BLOCKS, MIN_DOCUMENTS, partition
from sentinel_research.judgement.aggregates import AGGREGATES, Joint
from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.judgement.samples import AGAIN, Scores
from sentinel_research.judgement.schema import Unit
from sentinel_research.metrics.resampling import MIN_CLUSTERS, cluster_numbers

MIN_UNITS = MIN_CLUSTERS
"""With fewer units there is no verdict, as there is no standard error: so few say little."""


class Paired(NamedTuple):
    """One metric of two models on the same units."""

    joint: Joint
    """The metric."""
    num_units: int
    """Units, at least `MIN_UNITS`."""
    unit: Unit
    """What they are."""
    num_documents: int
    """Documents in them."""
    hits: tuple[Float[np.ndarray, " items"], Float[np.ndarray, " items"]] | None
    """1 or 0 of both models on each document, where a metric is their mean and documents are units;
    null for others."""


def pair_up(first: Scores, second: Scores, aggregation: str) -> Paired:
    """Pair two models' scores of the same documents.

    Args:
        first: The reference's.
        second: The other's.
        aggregation: A key of `AGGREGATES`.

    Raises:
        NotComparableError: if the documents or their units differ, or are too few.
    """
    if first.names != second.names:
        shared = len(set(first.names) & set(second.names))
        raise NotComparableError(
            "units",
            f"{len(first.names)} and {len(second.names)} documents have the metric, {shared} of "
            "them both",
        )
    num_documents = len(first.names)
    # one text of many windows has a spread
    if first.texts is not None and second.texts is not None:
        return _texts(first, second, aggregation)
    if num_documents < 2:
        raise NotComparableError(
            "too few", f"{num_documents} document(s) have no spread: measure more (raise the limit)"
        )
    unit: Unit = "documents"
    units = np.arange(num_documents)
    if first.clusters is not None and len(set(first.clusters)) < num_documents:
        unit, units = "clusters of documents", cluster_numbers(first.clusters)
    num_units = int(units.max()) + 1
    _enough(num_units, unit)
    aggregate = AGGREGATES[aggregation]
    joint = aggregate.join(first.items, second.items, units, num_units)
    hits = None
    values = np.concatenate([first.items[:, 0], second.items[:, 0]])
    if aggregate.is_mean and unit == "documents" and bool(np.isin(values, (0.0, 1.0)).all()):
        hits = first.items[:, 0], second.items[:, 0]
    return Paired(joint, num_units, unit, num_documents, hits)


def _texts(first: Scores, second: Scores, aggregation: str) -> Paired:
    """Of log-likelihoods of texts."""
    assert first.texts is not None
    assert second.texts is not None
    if (first.items[:, 1] != second.items[:, 1]).any():
        counts = [f"{int(one.items[:, 1].sum()):,}" for one in (first, second)]
        raise NotComparableError(
            "units",
            f"the same texts count {counts[0]} units for the reference and {counts[1]} for the "
            "other: their tokenizers differ; choose --metrics word_perplexity or bits_per_byte",
        )
    one, other = partition(first.texts), partition(second.texts)
    if one is None or other is None:
        raise NotComparableError(
            "too few",
            f"{len(first.names)} document(s): {MIN_DOCUMENTS} are needed, or {MIN_BLOCKS} windows "
            f"that both samples know; measure more (raise the limit), or {AGAIN}",
        )
    # the shares of units too: other windows of the same texts are no pairs
    if one.parts.shape != other.parts.shape or not np.allclose(
        one.parts[:, 1], other.parts[:, 1], rtol=1e-9, atol=0
    ):
        raise NotComparableError(
            "units",
            f"{len(one.parts)} and {len(other.parts)} {one.kind} of the same texts are no pairs: "
            "their tokenizers differ, and documents are too few to take them whole",
        )
    num_units = len(one.parts)
    units = np.arange(num_units)
    joint = AGGREGATES[aggregation].join(one.parts, other.parts, units, num_units)
    return Paired(joint, num_units, one.kind, len(first.names), None)


def _enough(num_units: int, unit: Unit) -> None:
    if num_units < MIN_UNITS:
        raise NotComparableError(
            "too few",
            f"{num_units} {unit}: a spread of fewer than {MIN_UNITS} says little; measure more "
            "(raise the limit)",
        )


def check_value(paired: Paired, recorded: tuple[float, float]) -> None:
    """Hold what the samples give against what the records say.

    Args:
        paired: From the samples.
        recorded: The reference's value, and the other's.

    Raises:
        NotComparableError: where they differ by more than the rounding of a sum.
    """
    ones = np.ones((1, paired.num_units))
    found = float(paired.joint.first(ones)[0]), float(paired.joint.second(ones)[0])
    for name, value, said in zip(("reference", "other"), found, recorded, strict=True):
        if not math.isclose(value, said, rel_tol=1e-9, abs_tol=1e-12):
            raise NotComparableError(
                "damaged samples",
                f"the samples of the {name} give {value:.6g}, its record says {said:.6g}; {AGAIN}",
            )
