"""Criteria against random masks of the same recipe, which are the only honest zero.

Two tests, both corrected by Holm over criteria and fractions. The randomisation test is exact and
assumes nothing, but its p cannot fall below one over the masks plus one. Student's t prediction
test can, and assumes that the logarithm of a perplexity (or another metric itself) is normal over
masks; Shapiro and Wilk's test of that stands beside it.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from sentinel_research.reporting.curves import TaskCurves
from sentinel_research.reporting.estimates import RANDOM, Estimate, split_arm
from sentinel_research.reporting.numbers import fraction
from sentinel_research.statistics import (
    Position,
    Prediction,
    holm,
    normality_p,
    position_among,
    prediction_test,
)

LEVEL = 0.05
Verdict = Literal["better", "worse", "no difference found", "too few masks to tell"]


class AgainstRandom(NamedTuple):
    """One criterion at one fraction against the random masks of that fraction."""

    scorer: str
    fraction: float
    value: float
    """The criterion's estimate, in the metric's unit."""
    position: Position
    """Its place among the masks, with the exact one-sided p."""
    exact_p_adjusted: float
    """Two-sided exact p after Holm."""
    exact_verdict: Verdict
    """By the exact test."""
    prediction: Prediction | None
    """Student's t; null if all masks gave the same value."""
    t_p_adjusted: float | None
    """Two-sided p of the t test after Holm."""
    t_verdict: Verdict | None
    """By the t test; null without one."""


class RandomComparison(NamedTuple):
    """All criteria of a run on one task against its random masks."""

    rows: tuple[AgainstRandom, ...]
    num_masks: dict[float, int]
    """Random masks, per fraction."""
    normality_p: dict[float, float]
    """Shapiro and Wilk's p of the masks' (log) values, per fraction with at least three masks."""
    is_log: bool
    """Whether the t test looks at the logarithm."""
    masks_needed: int
    """Masks with which the exact test could find a difference in this many comparisons."""
    not_compared: dict[str, str]
    """Criteria that were measured where no random masks were, with the reason."""
    reason: str
    """Why nothing could be compared; empty if something was."""


def compare_with_random(curves: TaskCurves) -> RandomComparison:
    """Compare every curve with the random one, fraction by fraction.

    Args:
        curves: What was measured on one task.
    """
    masks = _masks(curves)
    tested = [
        (curve.scorer, point.fraction, point.estimate)
        for curve in curves.curves
        if split_arm(curve.scorer)[1] != RANDOM
        for point in curve.points
        if point.estimate is not None and _place(curve.scorer, point.fraction) in masks
    ]
    reason = _why_not(curves, masks, bool(tested))
    if reason or curves.higher_is_better is None:
        return RandomComparison((), {}, {}, False, 0, {}, reason)
    estimates = [*curves.estimates(), *masks.values()]
    is_log = curves.metric.name.endswith("perplexity") and all(
        value > 0 for one in estimates for value in one.values
    )
    scale: Callable[[float], float] = math.log if is_log else float
    positions = [
        position_among(one.value, masks[_place(arm, share)].values, curves.higher_is_better)
        for arm, share, one in tested
    ]
    predictions = [
        prediction_test(
            scale(one.value), [scale(value) for value in masks[_place(arm, share)].values]
        )
        for arm, share, one in tested
    ]
    rows = _judge(tested, positions, predictions, curves.higher_is_better)
    normality: dict[float, float] = {}
    num_masks: dict[float, int] = {}
    # of several variants the least normal and the fewest masks
    for (_, share), one in masks.items():
        num_masks[share] = min(one.num_cells, num_masks.get(share, one.num_cells))
        p = normality_p([scale(value) for value in one.values])
        if p is not None:
            normality[share] = min(p, normality.get(share, p))
    alone = _not_compared(curves, masks)
    return RandomComparison(
        tuple(rows), num_masks, normality, is_log, _needed(len(rows)), alone, ""
    )


def _place(arm: str, fraction: float) -> tuple[str, float]:
    """Where an arm's random masks are: those of its own variant, at its fraction."""
    return split_arm(arm)[0], fraction


def _masks(curves: TaskCurves) -> dict[tuple[str, float], Estimate]:
    return {
        _place(curve.scorer, point.fraction): point.estimate
        for curve in curves.curves
        if split_arm(curve.scorer)[1] == RANDOM
        for point in curve.points
        if point.estimate is not None and point.estimate.over == "masks"
    }


def _not_compared(curves: TaskCurves, masks: dict[tuple[str, float], Estimate]) -> dict[str, str]:
    """What was measured where no random masks were, with the reason."""
    arms = [(curve, *split_arm(curve.scorer)) for curve in curves.curves]
    with_random = {variant for _, variant, scorer in arms if scorer == RANDOM}
    found = {}
    for curve, variant, scorer in arms:
        for point in curve.points:
            is_compared = scorer == RANDOM or _place(curve.scorer, point.fraction) in masks
            if point.estimate is None or is_compared:
                continue
            if variant in with_random:
                name = f"{curve.scorer} at {fraction(point.fraction)}"
                found[name] = "not compared, as fewer than two random masks were measured there"
            else:
                found[curve.scorer] = (
                    "not compared, as its variant has no random masks (`random` is not among its "
                    "scorers), and the masks of another variant remove other units"
                )
    return found


def _why_not(curves: TaskCurves, masks: dict[tuple[str, float], Estimate], has_tested: bool) -> str:
    if not any(split_arm(curve.scorer)[1] == RANDOM for curve in curves.curves):
        return "the run has no random masks to compare with"
    if not masks:
        return "no fraction has two random masks that were measured"
    if not has_tested:
        return "no other criterion was measured where the random masks were"
    if curves.higher_is_better is None:
        return f"the task does not say which direction of {curves.metric.label} is better"
    return ""


def _judge(
    tested: list[tuple[str, float, Estimate]],
    positions: list[Position],
    predictions: list[Prediction | None],
    higher_is_better: bool,
) -> list[AgainstRandom]:
    exact = holm([position.p_two_sided for position in positions])
    by_t = iter(holm([one.p_value for one in predictions if one is not None]))
    rows = []
    for (scorer, share, estimate), position, p, prediction in zip(
        tested, positions, exact, predictions, strict=True
    ):
        # the smallest p that so many masks can give, after the correction
        least = min(1.0, len(tested) * 2 / (1 + position.num_reference))
        better_by_rank = position.p_better < position.p_worse
        p_t = None if prediction is None else next(by_t)
        t_verdict = None
        if prediction is not None and p_t is not None:
            t_verdict = _verdict(p_t, (prediction.t > 0) == higher_is_better, True)
        rows.append(
            AgainstRandom(
                scorer=scorer,
                fraction=share,
                value=estimate.value,
                position=position,
                exact_p_adjusted=p,
                exact_verdict=_verdict(p, better_by_rank, least < LEVEL),
                prediction=prediction,
                t_p_adjusted=p_t,
                t_verdict=t_verdict,
            )
        )
    return rows


def _verdict(p: float, is_better: bool, can_tell: bool) -> Verdict:
    if not can_tell:
        return "too few masks to tell"
    if p >= LEVEL:
        return "no difference found"
    return "better" if is_better else "worse"


def _needed(num_comparisons: int) -> int:
    """The fewest masks with `2 * num_comparisons / (1 + masks) < LEVEL`."""
    return math.floor(2 * num_comparisons / LEVEL)
