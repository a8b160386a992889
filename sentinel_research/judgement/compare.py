"""Two or more measured models, compared document by document."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.judgement import inference
from sentinel_research.judgement.alike import check_alike
from sentinel_research.judgement.family import Asked, declare, other_metrics
from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.judgement.samples import Rows, aggregation_of, read_rows, scores_of
from sentinel_research.judgement.schema import Comparison, Evidence, Finding
from sentinel_research.judgement.subjects import Subject, find_pairs
from sentinel_research.judgement.units import Paired, check_value, pair_up
from sentinel_research.record import Measurement
from sentinel_research.reporting.differences import Verdict
from sentinel_research.reporting.estimates import measured
from sentinel_research.specs import JudgementSpec
from sentinel_research.statistics import holm

Read = Callable[[Subject, str], Rows]


class Outcome(NamedTuple):
    """A difference before the correction for its family."""

    paired: Paired
    """What was compared."""
    resampled: inference.Resampled
    """The difference and its interval."""
    tested: inference.Significance
    """Its p."""


class _Judged(NamedTuple):
    """What became of one member of the family."""

    asked: Asked
    measurements: tuple[Measurement | None, Measurement | None]
    tested: Outcome | None
    refused: NotComparableError | None


def compare(records: Sequence[str | Path], spec: JudgementSpec | None = None) -> Comparison:
    """Judge measured models against the first of them, by paired tests of their samples.

    Args:
        records: Run folders or FOLDER:CELL, at least two, the reference first; see `find_pairs`.
        spec: Tasks, metrics, correction and seed; all tasks by their plotted metric by default.

    Returns:
        A finding for every pair, task and metric, also for those that cannot be compared.

    Raises:
        UsageError: see `find_pairs` and `declare`.

    Example:
        >>> compare(["runs/a:dense", "runs/a:random-0.5"]).verdicts()  # doctest: +SKIP
        ['worse']
    """
    spec = spec or JudgementSpec()
    return judge_family(declare(find_pairs([str(one) for one in records]), spec), spec)


def judge_family(family: Sequence[Asked], spec: JudgementSpec) -> Comparison:
    """Judge a family of comparisons that was declared, corrected together.

    Args:
        family: Pairs, each on one task by one metric.
        spec: Correction, level, resamples and seed.

    Returns:
        A finding for every member, in its order; its verdict is on the second of the pair.
    """
    read = _reader()
    judged = [_judge(one, spec, read) for one in family]
    p_values = [_p(one) for one in judged]
    counted = [one for one in p_values if one is not None]
    adjusted = iter(adjust(counted, spec))
    return Comparison(
        spec=spec,
        synthetic_data=any(subject.record.synthetic_data for one in family for subject in one.pair),
        num_tests=len(counted),
        other_metrics=other_metrics(family),
        findings=[
            _finding(one, spec, len(counted), None if p is None else next(adjusted))
            for one, p in zip(judged, p_values, strict=True)
        ],
    )


def adjust(p_values: Sequence[float], spec: JudgementSpec) -> list[float]:
    """The p values of a family after its correction, in their own order.

    Args:
        p_values: Of all tests of the family.
        spec: Names the correction.
    """
    if spec.correction == "holm" or not p_values:
        return holm(p_values)
    from scipy import stats

    return [float(one) for one in stats.false_discovery_control(list(p_values), method="bh")]


def judge(paired: Paired, spec: JudgementSpec, name: str) -> Outcome:
    """The difference of two models by one metric, with its interval and its p.

    Args:
        paired: Both models' scores on the same units.
        spec: Resamples and seed.
        name: Of task and metric, so that every test draws anew.

    Raises:
        NotComparableError: if both models have the same result everywhere, or the metric is not
            defined on resamples.
    """
    if not paired.joint.differs.any():
        raise NotComparableError(
            "identical",
            f"both have the same result on each of {paired.num_units:,} {paired.unit}: there is "
            "nothing to test",
        )
    seed = [spec.seed, zlib.crc32(name.encode())]
    resampled = inference.resample(paired.joint, paired.num_units, spec.num_resamples, seed)
    if paired.hits is not None:
        return Outcome(paired, resampled, inference.mcnemar(*paired.hits))
    return Outcome(
        paired, resampled, inference.permute(paired.joint, spec.num_resamples, [*seed, 1])
    )


def verdict_on(
    difference: float, p_adjusted: float, level: float, *, higher_is_better: bool
) -> Verdict:
    """What a tested difference says about the second of two models.

    Args:
        difference: Second less first.
        p_adjusted: Two-sided, after the correction.
        level: Below it, there is a difference.
        higher_is_better: Direction of the metric.
    """
    if p_adjusted >= level:
        return "no difference found"
    return "better" if (difference > 0) == higher_is_better else "worse"


def _reader() -> Read:
    """Samples, each file read once for all metrics and pairs."""
    kept: dict[tuple[str, str], Rows] = {}

    def read(subject: Subject, task: str) -> Rows:
        key = subject.name, task
        if key not in kept:
            kept[key] = read_rows(subject, task)
        return kept[key]

    return read


def _judge(asked: Asked, spec: JudgementSpec, read: Read) -> _Judged:
    pair, task, metric = asked
    first, second = (measured(one.cell, task, metric) for one in pair)
    try:
        _check_measured(asked, first, second)
        assert first is not None
        assert second is not None
        check_alike(pair, task)
        names = [aggregation_of(one, task, metric.name) for one in pair]
        if names[0] != names[1]:
            raise NotComparableError(
                "aggregation", f"{metric.name} is {names[0]} of one and {names[1]} of the other"
            )
        scores = [scores_of(one, task, metric, read(one, task)) for one in pair]
        paired = pair_up(scores[0], scores[1], names[0])
        check_value(paired, (first.value, second.value))
        tested = judge(paired, spec, f"{task}/{metric.label}")
    except NotComparableError as refused:
        return _Judged(asked, (first, second), None, refused)
    return _Judged(asked, (first, second), tested, None)


def _check_measured(asked: Asked, first: Measurement | None, second: Measurement | None) -> None:
    """Whether both were measured, and more is better or worse for both."""
    if first is None or second is None:
        has, lacks = ("reference", "other") if second is None else ("other", "reference")
        without = asked.pair.second if second is None else asked.pair.first
        why = without.evaluation.not_measured.get(f"{asked.task}/{asked.metric.name}")
        raise NotComparableError(
            "one side",
            f"only the {has} was measured by it" + (f"; of the {lacks}, {why}" if why else ""),
        )
    if first.higher_is_better is None or first.higher_is_better != second.higher_is_better:
        raise NotComparableError(
            "direction",
            f"the task does not say whether more is better: {first.higher_is_better} of the "
            f"reference, {second.higher_is_better} of the other",
        )


def _p(one: _Judged) -> float | None:
    """Of a member of the family that counts in its correction."""
    if one.tested is not None:
        return one.tested.tested.p_value
    # a test of identical results can find nothing, and is one all the same
    is_identical = one.refused is not None and one.refused.refusal == "identical"
    return 1.0 if is_identical else None


def _finding(
    one: _Judged, spec: JudgementSpec, num_tests: int, p_adjusted: float | None
) -> Finding:
    pair, task, metric = one.asked
    first, _ = one.measurements
    known: dict[str, Any] = {
        "first": pair.first.name,
        "second": pair.second.name,
        "task": task,
        "metric": metric.name,
        "filter": metric.filter,
        "higher_is_better": next(
            (each.higher_is_better for each in one.measurements if each), None
        ),
    }
    if one.tested is None or p_adjusted is None:
        assert one.refused is not None
        return Finding(
            **known,
            verdict="not comparable",
            refusal=one.refused.refusal,
            reason=one.refused.reason,
        )
    assert first is not None
    evidence = _evidence(one, spec, num_tests, p_adjusted)
    verdict = verdict_on(
        evidence.difference, p_adjusted, spec.level, higher_is_better=bool(first.higher_is_better)
    )
    return Finding(**known, verdict=verdict, evidence=evidence)


def _evidence(one: _Judged, spec: JudgementSpec, num_tests: int, p_adjusted: float) -> Evidence:
    assert one.tested is not None
    first, second = one.measurements
    assert first is not None
    assert second is not None
    paired, resampled, tested = one.tested
    return Evidence(
        first_value=first.value,
        second_value=second.value,
        difference=resampled.difference,
        low=resampled.low,
        high=resampled.high,
        interval=resampled.interval,
        p_value=tested.p_value,
        p_adjusted=p_adjusted,
        test=tested.test,
        detectable=inference.detectable(resampled.stderr, paired.num_units, spec.level / num_tests),
        num_documents=paired.num_documents,
        num_units=paired.num_units,
        unit=paired.unit,
    )
