"""Which fraction of the lost quality a recovery regained, or why there is no such number."""

from statistics import fmean
from typing import Literal, NamedTuple

from sentinel_research.paired import paired_ratio
from sentinel_research.reporting.numbers import number, quantity
from sentinel_research.reporting.recovery.scale import Reading, Scale
from sentinel_research.statistics import Interval, normal_interval

Reference = Literal["dense model as it is", "dense model trained on the same budget"]
AS_IS: Reference = "dense model as it is"
SAME_BUDGET: Reference = "dense model trained on the same budget"


class Regained(NamedTuple):
    """The fraction of the loss of quality, against one reference, that a recovery regained."""

    reference: Reference
    value: float | None
    """Mean gain over mean loss of quality; above 1 the recovered model is better than the
    reference, below 0 worse than before. Null with a reason."""
    interval: Interval | None
    """Fieller's, at 95% over seeds; null for one seed."""
    lost: float | None
    """Mean loss of quality against the reference, positive where pruning cost something; in the
    unit of the scale."""
    num_pairs: int
    """Seeds with the recovery and the reference."""
    reason: str
    """Why value or interval is null; empty if neither is."""


class Repetition(NamedTuple):
    """One seed of a recovery."""

    seed: int
    before: Reading
    """As pruning left it."""
    after: Reading
    """Recovered."""


def measure_regained(
    reference: Reference,
    repetitions: tuple[Repetition, ...],
    references: dict[int, Reading],
    scale: Scale,
) -> Regained:
    """Compare what was gained with what was lost, seed by seed.

    Args:
        reference: Its name.
        repetitions: The recovery's seeds.
        references: The reference by seed.
        scale: On which all values are.
    """
    paired = [one for one in repetitions if one.seed in references]
    if scale.higher_is_better is None:
        why = f"the task does not say which direction of {scale.metric.label} is better"
        return Regained(reference, None, None, None, len(paired), why)
    if not paired:
        why = "no seed has both the recovery and the reference"
        return Regained(reference, None, None, None, 0, why)
    sign = 1 if scale.higher_is_better else -1
    gained = [sign * (one.after.value - one.before.value) for one in paired]
    lost = [sign * (references[one.seed].value - one.before.value) for one in paired]
    mean_lost = fmean(lost)
    reason = _nothing_lost(paired, [references[one.seed] for one in paired], mean_lost, scale)
    if reason:
        return Regained(reference, None, None, mean_lost, len(paired), reason)
    value = fmean(gained) / mean_lost
    if len(paired) == 1:
        return Regained(reference, value, None, mean_lost, 1, "one seed has no interval")
    interval = paired_ratio(gained, lost)
    if interval is None:
        why = (
            f"what was lost ({scale.in_words(mean_lost)}) cannot be told from 0 over "
            f"{quantity(len(paired), 'seed')}, so any fraction would fit"
        )
        return Regained(reference, None, None, mean_lost, len(paired), why)
    return Regained(reference, value, interval, mean_lost, len(paired), "")


def _nothing_lost(
    paired: list[Repetition], references: list[Reading], mean_lost: float, scale: Scale
) -> str:
    """Why there is nothing to regain; empty if there is."""
    if mean_lost <= 0:
        return f"nothing was lost: the pruned model is {scale.in_words(-mean_lost)} better"
    errors = [(one.before.stderr, two.stderr) for one, two in zip(paired, references, strict=True)]
    # all seeds read the same documents: their mean has the error of one
    joint = [(a**2 + b**2) ** 0.5 for a, b in errors if a is not None and b is not None]
    if not joint:
        return ""
    margin = normal_interval(0.0, fmean(joint)).high
    if mean_lost > margin:
        return ""
    return (
        f"nothing was lost that the documents can tell: {scale.in_words(mean_lost)}, within "
        f"{number(margin)} of 0"
    )
