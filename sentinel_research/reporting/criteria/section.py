"""The parts of a report that compare criteria, each with its numbers or with why there are none."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sentinel_research.reporting.criteria import tables
from sentinel_research.reporting.criteria.against_random import compare_with_random
from sentinel_research.reporting.criteria.agreement import compare_with_leave_one_out, correlate_all
from sentinel_research.reporting.criteria.heatmaps import (
    MOST_SQUARES,
    draw_correlations,
    draw_importance,
    num_squares,
)
from sentinel_research.reporting.criteria.scores import LEAVE_ONE_OUT, Scores, read_scores
from sentinel_research.reporting.criteria.stability import measure_noise, measure_stability
from sentinel_research.reporting.curves import TaskCurves
from sentinel_research.reporting.estimates import Group, split_arm
from sentinel_research.reporting.numbers import fraction
from sentinel_research.reporting.svg import Drawing
from sentinel_research.reporting.tables import Table

_NO_SCORES = "the record holds no scores of any criterion"
_AGREEMENT_NOTE = (
    "Mean over draws with Student's t interval, which covers the calibration text and not the "
    "choice of model, and is not cut at 1. A criterion that reads text is compared with "
    "leave-one-out on the same text."
)
_STABILITY_NOTE = (
    "Jaccard overlap of the removed units, mean over every two draws of the calibration text (for "
    "random: of the mask), beside its exact expectation for random selections of the same sizes. "
    "Halves: selections from two disjoint halves of one calibration text."
)
_NOISE_NOTE = (
    "Rho with itself: Spearman's rho between the scores of two draws, mean over pairs. Noise to "
    "signal: median standard error of a unit's score over the standard deviation of the scores of "
    "all units; from 1 on, one text cannot order typical units."
)
_CORRELATION_NOTE = (
    "Spearman's rho over all units, mean over draws. The diagonal compares different draws of one "
    "criterion, and has no number where there is one draw only."
)


class Part(NamedTuple):
    """One comparison: a table or a figure, or why there is neither."""

    key: str
    """Its name in `report.json`."""
    title: str
    table: Table | None
    figure: Drawing | None
    notes: tuple[str, ...]
    """How to read it."""
    absent: str
    """Why there is nothing, or no number somewhere; empty if all is there."""
    numbers: Any
    """Everything at full precision, as tuples; None if there is nothing."""


def compare_criteria(groups: list[Group], synthetic_data: bool) -> tuple[Part, ...]:
    """Everything about the criteria of a run that no task decides.

    Args:
        groups: The cells of the run, grouped.
        synthetic_data: Whether to mark the figures.

    Returns:
        The parts; none if the run neither compares criteria nor repeats one.
    """
    pruned = [group for group in groups if not group.is_dense]
    is_repeated = any(group.repeats != "nothing" for group in pruned)
    if len({group.scorer for group in pruned}) < 2 and not is_repeated:
        return ()
    scores = read_scores(groups)
    return (
        _agreement(scores),
        _correlations(scores, synthetic_data),
        _importance(scores, synthetic_data),
        _stability(pruned),
        _noise(scores),
    )


def compare_on_task(curves: TaskCurves) -> Part | None:
    """The criteria of a run against its random masks, on one task; None if nothing was pruned."""
    if not curves.curves:
        return None
    title = "Against random masks"
    found = compare_with_random(curves)
    if found.reason:
        return _absent("against_random", title, found.reason)
    table = tables.random_table(found, curves.metric.label)
    absent = _list(found.not_compared)
    return Part("against_random", title, table, None, tables.explain_random(found), absent, found)


def _absent(key: str, title: str, reason: str) -> Part:
    return Part(key, title, None, None, (), f"Not computed: {reason}.", None)


def _agreement(scores: dict[str, list[Scores]]) -> Part:
    key, title = "agreement_with_leave_one_out", "Agreement with leave-one-out"
    if not scores:
        return _absent(key, title, _NO_SCORES)
    if LEAVE_ONE_OUT not in {split_arm(arm)[1] for arm in scores}:
        return _absent(key, title, f"the record holds no scores of {LEAVE_ONE_OUT}")
    rows = compare_with_leave_one_out(scores)
    if not rows:
        return _absent(key, title, "no other criterion has scores in the record")
    reasons = {row.scorer: row.reason for row in rows if row.reason}
    notes = (_AGREEMENT_NOTE,)
    return Part(key, title, tables.agreement_table(rows), None, notes, _list(reasons), rows)


def _correlations(scores: dict[str, list[Scores]], synthetic_data: bool) -> Part:
    key, title = "correlations", "Rank correlation between criteria"
    if len(scores) < 2:
        return _absent(key, title, "fewer than two criteria have scores in the record")
    found = correlate_all(scores)
    figure = draw_correlations(found, synthetic_data)
    return Part(key, title, None, figure, (_CORRELATION_NOTE,), "", found)


def _importance(scores: dict[str, list[Scores]], synthetic_data: bool) -> Part:
    key, title = "importance", "Importance of units"
    figure = draw_importance(scores, synthetic_data) if scores else None
    if figure is None:
        why = "layers are too wide to be seen, or units of several kinds were ranked together"
        if num_squares(scores) > MOST_SQUARES:
            why = f"{num_squares(scores):,} squares are too many to be seen"
        return _absent(key, title, why if scores else _NO_SCORES)
    notes = ("Rank among all units, mean over draws; the scores themselves are in record.json.",)
    return Part(key, title, None, figure, notes, "", None)


def _unique(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def _stability(pruned: list[Group]) -> Part:
    key, title = "stability", "Stability of selections"
    rows = [measure_stability(group) for group in pruned]
    if all(row.overlap is None and row.halves is None for row in rows):
        return _absent(key, title, _unique(row.reason for row in rows))
    shared: dict[str, set[str]] = {}
    for row in rows:
        shared.setdefault(row.scorer, set()).add(row.reason)
    reasons = {}
    for row in rows:
        if row.reason:
            at = "" if len(shared[row.scorer]) == 1 else f" at {fraction(row.fraction)}"
            reasons[f"{row.scorer}{at}"] = row.reason
    notes = (_STABILITY_NOTE,)
    return Part(key, title, tables.stability_table(rows), None, notes, _list(reasons), rows)


def _noise(scores: dict[str, list[Scores]]) -> Part:
    key, title = "score_noise", "Sampling error of scores"
    rows = [measure_noise(scorer, draws) for scorer, draws in scores.items()]
    if all(row.noise_to_signal is None and row.self_correlation is None for row in rows):
        return _absent(key, title, _unique(row.reason for row in rows) or _NO_SCORES)
    reasons = {row.scorer: row.reason for row in rows if row.reason}
    notes = (_NOISE_NOTE,)
    return Part(key, title, tables.noise_table(rows), None, notes, _list(reasons), rows)


def _list(reasons: dict[str, str]) -> str:
    """Names with the reason they share, in a sentence; empty without any."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return " ".join(f"{', '.join(shared)}: {reason}." for reason, shared in names.items())
