"""Carry out the study of a recipe over the measured cells of its run."""

from pathlib import Path
from typing import Any

from sentinel_research.record import RunRecord
from sentinel_research.specs import StudySpec
from sentinel_research.studies.break_points import find_break_points
from sentinel_research.studies.cells import dense_subject, read_masks
from sentinel_research.studies.specialisation import compare_masks
from sentinel_research.studies.transfer import compare_plans


def run_study(spec: StudySpec, record: RunRecord, folder: Path) -> dict[str, Any] | None:
    """What the cells of a run say together.

    Args:
        spec: The question.
        record: The run, its cells measured as far as they could be.
        folder: The run folder, with the samples per document.

    Returns:
        A model of `studies.schema` as JSON. None where the dense model or every pruning is not
        measured, and for `importance`, which reports read off the plans in the record.
    """
    dense, masks = dense_subject(record, folder), read_masks(record, folder)
    if dense is None or not masks or spec.kind == "importance":
        return None
    if spec.kind == "transfer":
        return compare_plans(record, masks, spec.judgement).model_dump(mode="json")
    study = compare_masks if spec.kind == "specialisation" else find_break_points
    return study(record, dense, masks, spec.judgement).model_dump(mode="json")
