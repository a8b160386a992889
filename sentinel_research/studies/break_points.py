"""From which fraction on is each task lost, and at which is half of it?

A task breaks at the smallest fraction from which on the model is worse than the dense one at every
larger fraction that was measured; the fractions of a criterion on a task are one family. Half is
lost where the advantage over chance, interpolated between fractions, first falls to half of the
dense model's: accuracy less that of guessing, or by how much the log-perplexity is below that of a
model to which all tokens are alike. The interval resamples documents, the same for all fractions.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sentinel_research.evaluation.samples import read_samples
from sentinel_research.judgement.compare import judge_family
from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.judgement.samples import aggregation_of, read_rows, scores_of
from sentinel_research.judgement.subjects import Subject
from sentinel_research.judgement.units import pair_up
from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import Metric, measured
from sentinel_research.specs import JudgementSpec
from sentinel_research.studies.cells import Mask, ask, list_evaluated
from sentinel_research.studies.schema import AtFraction, BreakPoint, BreakPoints, HalfLoss

Curves = Float[np.ndarray, "resamples fractions"]
_LOST = 0.5
_TAILS = (2.5, 97.5)


class _Retained(NamedTuple):
    """What is left of an advantage over chance."""

    is_above_chance: bool
    shares: list[float]
    """By fraction, the dense model's first."""
    half_loss: HalfLoss


def find_break_points(
    record: RunRecord, dense: Subject, masks: list[Mask], spec: JudgementSpec
) -> BreakPoints:
    """Follow every criterion over its fractions on every task.

    Args:
        record: The run.
        dense: Its dense model.
        masks: Its prunings.
        spec: How they are judged.
    """
    series: dict[str, list[Mask]] = {}
    for mask in sorted(masks, key=lambda one: one.fraction):
        name = mask.arm if mask.seed is None else f"{mask.arm}, seed {mask.seed}"
        series.setdefault(name, []).append(mask)
    points = []
    for criterion, found in series.items():
        own = [
            _break_point(record, dense, found, task, criterion, spec)
            for task in list_evaluated(record)
        ]
        points += sorted(own, key=_lost_first)
    return BreakPoints(points=points)


def half_loss_at(
    fractions: Float[np.ndarray, " fractions"], retained: Curves
) -> Float[np.ndarray, " resamples"]:
    """Where curves first fall to half, by linear interpolation; infinite where they do not.

    Args:
        fractions: Ascending, the first 0.
        retained: Share of the advantage that is left at each, 1 at the first.

    Example:
        >>> half_loss_at(np.array([0.0, 0.2, 0.4]), np.array([[1.0, 0.8, 0.4]]))
        array([0.35])
    """
    is_lost = retained <= _LOST
    after = is_lost.argmax(axis=1)
    rows = np.arange(len(retained))
    before = np.maximum(after - 1, 0)
    high, low = retained[rows, before], retained[rows, after]
    share = np.divide(high - _LOST, high - low, out=np.zeros(len(rows)), where=high > low)
    found = fractions[before] + share * (fractions[after] - fractions[before])
    return np.where(is_lost.any(axis=1), found, np.inf)


def _break_point(
    record: RunRecord,
    dense: Subject,
    masks: list[Mask],
    task: str,
    criterion: str,
    spec: JudgementSpec,
) -> BreakPoint:
    family = [ask(record, dense, mask.subject, task) for mask in masks]
    findings = judge_family(family, spec).findings
    metric = family[0].metric
    first = measured(dense.cell, task, metric)
    assert first is not None  # the task is the dense model's
    chance, reason, retained = _chance(record, dense, task, metric), "", None
    if chance is None:
        reason = f"the {metric.label} of a guess is not known"
    else:
        try:
            retained = _retained(dense, masks, task, metric, chance, spec)
        except NotComparableError as error:
            reason = error.reason
    if retained is not None and not retained.is_above_chance:
        reason = "not above chance to begin with"
    breaks_at = None
    for mask, finding in zip(reversed(masks), reversed(findings), strict=True):
        if finding.verdict != "worse":
            break
        breaks_at = mask.fraction
    is_above = retained is not None and retained.is_above_chance
    shares = retained.shares[1:] if retained is not None and is_above else [None] * len(masks)
    return BreakPoint(
        task=task,
        criterion=criterion,
        metric=metric.label,
        chance=chance,
        dense=first.value,
        is_above_chance=None if retained is None else retained.is_above_chance,
        breaks_at=breaks_at,
        half_loss=retained.half_loss if retained is not None and is_above else None,
        fractions=[
            AtFraction(fraction=mask.fraction, retained=share, finding=finding)
            for mask, share, finding in zip(masks, shares, findings, strict=True)
        ],
        reason=reason,
    )


def _retained(
    dense: Subject, masks: list[Mask], task: str, metric: Metric, chance: float, spec: JudgementSpec
) -> _Retained:
    """Advantages over chance of all fractions on the same resamples of documents."""
    aggregation = aggregation_of(dense, task, metric.name)
    first = scores_of(dense, task, metric, read_rows(dense, task))
    joints, num_units = [], 0
    for mask in masks:
        rows = read_rows(mask.subject, task)
        paired = pair_up(first, scores_of(mask.subject, task, metric, rows), aggregation)
        joints.append(paired.joint)
        num_units = paired.num_units
    rng = np.random.default_rng(spec.seed)
    drawn = rng.multinomial(num_units, np.full(num_units, 1 / num_units), spec.num_resamples)
    # the first row is the sample as it is
    weights = np.concatenate([np.ones((1, num_units)), drawn.astype(np.float64)])
    values = np.stack([joints[0].first(weights), *(one.second(weights) for one in joints)], axis=1)
    ahead = math.log(chance) - np.log(values) if _is_perplexity(metric) else values - chance
    if not np.isfinite(ahead).all():
        raise NotComparableError("undefined", "the metric is not defined on some resamples")
    low = float(np.percentile(ahead[1:, 0], _TAILS[0]))
    # without an advantage there is no share of it
    if low <= 0:
        none = HalfLoss(value=None, low=None, high=None)
        return _Retained(False, [], none)
    has_one = ahead[:, 0] > 0
    shares = ahead[has_one] / ahead[has_one, :1]
    found = half_loss_at(np.array([0.0, *(mask.fraction for mask in masks)]), shares)
    # no interpolation between a fraction and none
    ends = np.percentile(found[1:], _TAILS, method="inverted_cdf")
    value, *interval = (float(one) if math.isfinite(one) else None for one in (found[0], *ends))
    half = HalfLoss(value=value, low=interval[0], high=interval[1])
    return _Retained(True, [float(one) for one in shares[0]], half)


def _chance(record: RunRecord, dense: Subject, task: str, metric: Metric) -> float | None:
    """The metric of a guess."""
    config = dense.evaluation.lm_eval.get("configs", {}).get(task, {})
    if metric.name == "acc" and config.get("output_type") == "multiple_choice":
        rows = read_samples(dense.path / dense.evaluation.samples[task])
        return float(np.mean([1 / len(row["resps"]) for row in rows]))
    if metric.name == "token_perplexity":
        size = (record.load or {}).get("vocab_size")
        return None if size is None else float(size)
    return None


def _is_perplexity(metric: Metric) -> bool:
    return metric.name.endswith("perplexity")


def _lost_first(point: BreakPoint) -> tuple[int, float]:
    """By the fraction that costs half; then what never does, then what was never there."""
    if point.half_loss is None:
        return 2, 0.0
    value = point.half_loss.value
    return (1, 0.0) if value is None else (0, value)
