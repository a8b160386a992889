"""Do methods differ from plain fine-tuning, and criteria from random masks, after recovery?"""

from collections.abc import Iterator
from typing import NamedTuple

from sentinel_research.reporting.differences import Difference, Pair, paired_differences
from sentinel_research.reporting.estimates import RANDOM, join_arm, split_arm
from sentinel_research.reporting.recovery.results import FULL, RecoveryResult, TaskRecoveries


class Compared(NamedTuple):
    """One recovery beside another of the same fraction."""

    scorer: str
    fraction: float
    recovery: str
    against: str
    """The other recovery, or the other scorer."""
    difference: Difference
    """Of what was measured after recovery, in the unit of the scale."""


def against_full(found: TaskRecoveries) -> tuple[Compared, ...]:
    """Every recovery of a pruned model against plain fine-tuning of it on the same budget.

    Args:
        found: The recoveries on one task.
    """
    pairs = [
        (one, full)
        for one in found.results
        if not one.is_dense and one.methods != FULL
        for full in _plain(found, one)
    ]
    return _test(pairs, [full.recovery for _, full in pairs], found)


def without_full(found: TaskRecoveries) -> list[str]:
    """Recoveries that no plain fine-tuning on the same budget stands beside."""
    lacking = [
        one.recovery
        for one in found.results
        if not one.is_dense and one.methods != FULL and not [*_plain(found, one)]
    ]
    return list(dict.fromkeys(lacking))


def against_random(found: TaskRecoveries) -> tuple[Compared, ...]:
    """Every criterion against random masks of the same fraction, both recovered in the same way.

    Args:
        found: The recoveries on one task.
    """
    places = {(one.scorer, one.fraction, one.recovery): one for one in found.results}
    pairs = []
    for one in found.results:
        variant, scorer = split_arm(one.scorer)
        other = places.get((join_arm(variant, RANDOM), one.fraction, one.recovery))
        if not one.is_dense and scorer != RANDOM and other is not None:
            pairs.append((one, other))
    return _test(pairs, [other.scorer for _, other in pairs], found)


def _plain(found: TaskRecoveries, one: RecoveryResult) -> Iterator[RecoveryResult]:
    """Plain fine-tuning of the same pruning on as many tokens of the same text; at most one.

    Of several with different settings, such as learning rates, the first is taken.
    """
    for other in found.results:
        same = (other.scorer, other.fraction) == (one.scorer, one.fraction)
        if same and other.methods == FULL and found.budget(other) == found.budget(one):
            yield other
            return


def _test(
    pairs: list[tuple[RecoveryResult, RecoveryResult]], against: list[str], found: TaskRecoveries
) -> tuple[Compared, ...]:
    differences = paired_differences(
        [
            Pair(one.name, other.name, one.after_by_seed(), other.after_by_seed())
            for one, other in pairs
        ],
        found.scale.higher_is_better,
    )
    return tuple(
        Compared(one.scorer, one.fraction, one.recovery, name, difference)
        for (one, _), name, difference in zip(pairs, against, differences, strict=True)
    )
