"""The parts of a report about a recipe's study, each with its numbers or why there are none."""

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.estimates import Group
from sentinel_research.reporting.studies.break_points import break_point_parts
from sentinel_research.reporting.studies.importance import importance_parts
from sentinel_research.reporting.studies.specialisation import specialisation_parts
from sentinel_research.reporting.studies.transfer import transfer_parts

_TITLES = {
    "specialisation": "Masks of tasks on all tasks",
    "break_points": "What pruning breaks first",
    "importance": "Stability of importance",
    "transfer": "Plans made for another model",
}


def present_study(record: RunRecord, groups: list[Group]) -> tuple[Part, ...]:
    """Everything about the study of a run.

    Args:
        record: Any run.
        groups: Its cells, grouped.

    Returns:
        The parts; none if the recipe asks for no study.
    """
    asked = record.recipe.get("study")
    if asked is None:
        return ()
    # a module of floor 4 that itself reads reports' terms, and loads datasets for three seconds
    from sentinel_research.studies.schema import BreakPoints, Specialisation, Transfer

    kind = asked["kind"]
    if kind == "importance":
        return importance_parts(groups)
    if record.study is None:
        absent = "Not computed: the dense model or every pruning of it is not measured."
        return (Part(kind, _TITLES[kind], None, None, (), absent, None),)
    if kind == "specialisation":
        return specialisation_parts(Specialisation.model_validate(record.study), groups)
    if kind == "transfer":
        return transfer_parts(Transfer.model_validate(record.study))
    return break_point_parts(BreakPoints.model_validate(record.study))
