"""Is a plan that was made for another model as good as the model's own, and better than chance?

Every moved plan is compared with the native one of its scorer and fraction, document by document,
all in one family; and takes its place among the random masks of its fraction, by the exact test of
`statistics.position_among`, corrected over the same plans.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sentinel_research.judgement.compare import judge_family
from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import list_metrics, measured
from sentinel_research.specs import JudgementSpec
from sentinel_research.statistics import Position, holm, position_among
from sentinel_research.studies.cells import Mask, ask, list_evaluated
from sentinel_research.studies.schema import MovedPlan, Transfer


class _Moved(NamedTuple):
    task: str
    mask: Mask
    native: Mask | None
    position: Position | None


def compare_plans(record: RunRecord, masks: list[Mask], spec: JudgementSpec) -> Transfer:
    """Judge every plan that was made for another model.

    Args:
        record: The run.
        masks: Its prunings.
        spec: How they are judged.
    """
    native = {
        (one.scorer, one.fraction): one
        for one in masks
        if one.seed is None and _made_for(one) is None
    }
    chance = [one for one in masks if one.seed is not None and _made_for(one) is None]
    moved = [
        _Moved(task, one, native.get((one.scorer, one.fraction)), _among(record, one, chance, task))
        for task in list_evaluated(record)
        for one in masks
        if _made_for(one) is not None
    ]
    family = [
        ask(record, one.native.subject, one.mask.subject, one.task)
        for one in moved
        if one.native is not None
    ]
    findings = iter(judge_family(family, spec).findings)
    adjusted = iter(holm([one.position.p_two_sided for one in moved if one.position is not None]))
    return Transfer(
        plans=[
            MovedPlan(
                task=one.task,
                moved=one.mask.arm,
                made_for=str(_made_for(one.mask)),
                fraction=one.mask.fraction,
                native=None if one.native is None else one.native.arm,
                finding=None if one.native is None else next(findings),
                num_random=0 if one.position is None else one.position.num_reference,
                num_beaten=0 if one.position is None else one.position.num_beaten,
                random_p=None if one.position is None else next(adjusted),
            )
            for one in moved
        ]
    )


def _made_for(mask: Mask) -> str | None:
    found = (mask.subject.cell.prune_spec or {}).get("transfer_from")
    return None if found is None else str(found)


def _among(record: RunRecord, moved: Mask, chance: Sequence[Mask], task: str) -> Position | None:
    """The place of a plan among random masks; None without any, or without a direction."""
    metric = list_metrics(record, task)[0]
    own = measured(moved.subject.cell, task, metric)
    found = [measured(one.subject.cell, task, metric) for one in chance if _alike(one, moved)]
    values = [one.value for one in found if one is not None]
    if own is None or own.higher_is_better is None or not values:
        return None
    return position_among(own.value, values, own.higher_is_better)


def _alike(chance: Mask, moved: Mask) -> bool:
    """Whether both remove as much of the same units, ranked among the same."""
    keys = ("fraction", "granularity", "scope", "budget")
    one, other = (mask.subject.cell.prune_spec or {} for mask in (chance, moved))
    return [one.get(key) for key in keys] == [other.get(key) for key in keys]
