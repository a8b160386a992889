"""Is the mask that was scored on a task the best for it? Every mask on every task.

Two families, each corrected as a whole: every mask against the dense model on every task; and on
each task its own mask against every other one of the same scorer and fraction.
"""

from sentinel_research.judgement.compare import judge_family
from sentinel_research.judgement.subjects import Subject
from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import list_metrics, measured
from sentinel_research.specs import JudgementSpec
from sentinel_research.specs.recipe import own_task
from sentinel_research.studies.cells import Mask, ask, list_evaluated
from sentinel_research.studies.schema import MaskOnTask, OwnAgainstOther, Specialisation


def compare_masks(
    record: RunRecord, dense: Subject, masks: list[Mask], spec: JudgementSpec
) -> Specialisation:
    """Judge every mask that read a text on every task.

    Args:
        record: The run.
        dense: Its dense model.
        masks: Its prunings.
        spec: How they are judged.
    """
    tasks = list_evaluated(record)
    scored = [mask for mask in masks if mask.calibration is not None]
    places = [(task, mask) for task in tasks for mask in scored]
    against_dense = judge_family(
        [ask(record, dense, mask.subject, task) for task, mask in places], spec
    )
    rivals = [
        (task, own, other)
        for task, own in places
        for other in scored
        if _is_own(own, task)
        and not _is_own(other, task)
        and (own.scorer, own.fraction) == (other.scorer, other.fraction)
    ]
    own_against = judge_family(
        [ask(record, other.subject, own.subject, task) for task, own, other in rivals], spec
    )
    return Specialisation(
        against_dense=[
            MaskOnTask(
                task=task,
                mask=mask.arm,
                fraction=mask.fraction,
                is_own=_is_own(mask, task),
                dense=_value(record, dense, task),
                value=_value(record, mask.subject, task),
                finding=finding,
            )
            for (task, mask), finding in zip(places, against_dense.findings, strict=True)
        ],
        own_against_others=[
            OwnAgainstOther(
                task=task, own=own.arm, other=other.arm, fraction=own.fraction, finding=finding
            )
            for (task, own, other), finding in zip(rivals, own_against.findings, strict=True)
        ],
    )


def _value(record: RunRecord, subject: Subject, task: str) -> float | None:
    found = measured(subject.cell, task, list_metrics(record, task)[0])
    return None if found is None else found.value


def _is_own(mask: Mask, task: str) -> bool:
    return mask.calibration is not None and own_task(mask.calibration, [task]) == task
