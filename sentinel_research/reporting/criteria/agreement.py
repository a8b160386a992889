"""How far criteria order the units alike: rank correlations, all of them and within layers."""

import itertools
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

from sentinel_research.reporting.criteria.scores import (
    LEAVE_ONE_OUT,
    Mean,
    Scores,
    mean_over_draws,
    pair_draws,
)
from sentinel_research.reporting.estimates import join_arm, split_arm
from sentinel_research.statistics import RankCorrelation, rank_correlation


class Agreement(NamedTuple):
    """How far a criterion orders the units as another does; the means, or a reason for none."""

    scorer: str
    """The criterion."""
    other: str
    """The criterion it is compared with."""
    num_units: int
    """Units that both scored."""
    spearman: Mean | None
    """Spearman's rho over all units of the model."""
    kendall: Mean | None
    """Kendall's tau-b over all units of the model."""
    within_layers: Mean | None
    """Mean over layers of Spearman's rho among the units of a layer."""
    reason: str
    """Why a coefficient is absent; empty if none is."""


class Correlations(NamedTuple):
    """Spearman's rho between all criteria."""

    scorers: tuple[str, ...]
    """The criteria, in the order of the rows."""
    spearman: tuple[tuple[float | None, ...], ...]
    """Mean over draws; on the diagonal between different draws of one criterion."""


def compare_with_leave_one_out(scores: dict[str, list[Scores]]) -> list[Agreement]:
    """Every other criterion against the leave-one-out of its variant; none where there is none.

    Args:
        scores: Arm -> its draws.
    """
    rows = []
    for arm, found in scores.items():
        variant, scorer = split_arm(arm)
        oracle = join_arm(variant, LEAVE_ONE_OUT)
        if scorer != LEAVE_ONE_OUT and oracle in scores:
            rows.append(compare(arm, found, oracle, scores[oracle]))
    return rows


def compare(name: str, first: list[Scores], other: str, second: list[Scores]) -> Agreement:
    """Compare two criteria draw by draw.

    Args:
        name: The first criterion.
        first: Its draws.
        other: The second criterion.
        second: Its draws.
    """
    if first[0].shape() != second[0].shape():
        reason = f"{name} and {other} scored different units"
        return Agreement(name, other, 0, None, None, None, reason)
    pairs = pair_draws(first, second)
    spearman, why = _mean(pairs, _spearman, _everywhere)
    kendall, _ = _mean(pairs, lambda one, two: _everywhere(one, two).kendall, _everywhere)
    within, why_not_within = _mean(pairs, _within_layers, None)
    if not pairs:
        why = why_not_within = f"{name} and {other} share no calibration seed"
    num_units = len(first[0].flat())
    return Agreement(name, other, num_units, spearman, kendall, within, why or why_not_within)


def compare_with_itself(draws: list[Scores]) -> float | None:
    """Mean of Spearman's rho between every two draws of a criterion; None for fewer than two."""
    found = [
        _spearman(one, two)
        for one, two in itertools.combinations(draws, 2)
        if one.shape() == two.shape()
    ]
    known = [value for value in found if value is not None]
    return fmean(known) if known else None


def correlate_all(scores: dict[str, list[Scores]]) -> Correlations:
    """Spearman's rho of every criterion with every other.

    Args:
        scores: Scorer -> its draws.
    """
    means: dict[tuple[str, str], float | None] = {}
    for one, two in itertools.combinations(scores, 2):
        means[one, two] = means[two, one] = _correlate(scores[one], scores[two])
    for one in scores:
        means[one, one] = compare_with_itself(scores[one])
    rows = tuple(tuple(means[one, two] for two in scores) for one in scores)
    return Correlations(tuple(scores), rows)


def _correlate(first: list[Scores], second: list[Scores]) -> float | None:
    if first[0].shape() != second[0].shape():
        return None
    mean, _ = _mean(pair_draws(first, second), _spearman, None)
    return None if mean is None else mean.value


def _spearman(one: Scores, two: Scores) -> float | None:
    return _everywhere(one, two).spearman


def _everywhere(one: Scores, two: Scores) -> RankCorrelation:
    return rank_correlation(one.flat(), two.flat())


def _within_layers(one: Scores, two: Scores) -> float | None:
    found = [
        rank_correlation(values, two.importance[stratum]).spearman
        for stratum, values in one.importance.items()
    ]
    known = [value for value in found if value is not None]
    return fmean(known) if known else None


def _mean(
    pairs: list[list[tuple[Scores, Scores]]],
    measure: Callable[[Scores, Scores], float | None],
    explain: Callable[[Scores, Scores], RankCorrelation] | None,
) -> tuple[Mean | None, str]:
    """The mean over draws of what has an order, or why nothing has."""
    draws = [[measure(one, two) for one, two in draw] for draw in pairs]
    known = [[value for value in draw if value is not None] for draw in draws]
    mean = mean_over_draws([fmean(values) for values in known if values])
    if mean is not None or not pairs:
        return mean, ""
    if explain is None:
        return None, "no layer has two units that both criteria tell apart"
    return None, explain(*pairs[0][0]).reason
