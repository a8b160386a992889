"""Masks that were scored on one task each, on all tasks: the matrix, its diagonal, the overlaps."""

import itertools
from typing import TYPE_CHECKING, NamedTuple

from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.criteria.stability import Overlap, compare_selections
from sentinel_research.reporting.estimates import Group
from sentinel_research.reporting.numbers import coefficient, fraction, number
from sentinel_research.reporting.studies.findings import (
    HEADERS,
    NONE,
    explain_family,
    finding_cells,
    list_reasons,
    value_cell,
)
from sentinel_research.reporting.tables import Cell, Table

if TYPE_CHECKING:
    from sentinel_research.studies.schema import Specialisation

_MATRIX_NOTE = (
    "A mask's value, with the interval of its difference to the dense model; bold or red is worse. "
    "A star marks the mask that was scored on the task. Random masks are in the results of each "
    "task."
)
_OVERLAP_NOTE = (
    "Jaccard overlap of the removed units, beside its exact expectation for random selections of "
    "the same sizes."
)


class MaskOverlap(NamedTuple):
    """What two masks share."""

    first: str
    second: str
    fraction: float
    overlap: Overlap


def specialisation_parts(study: "Specialisation", groups: list[Group]) -> tuple[Part, ...]:
    """The parts of a study of specialisation.

    Args:
        study: What it found.
        groups: The cells of the run, grouped.
    """
    return _matrix(study), _own(study), mask_overlaps(groups, study)


def _matrix(study: "Specialisation") -> Part:
    columns = list(dict.fromkeys((one.mask, one.fraction) for one in study.against_dense))
    tasks = list(dict.fromkeys(one.task for one in study.against_dense))
    found = {(one.task, one.mask, one.fraction): one for one in study.against_dense}
    rows = []
    for task in tasks:
        cells = []
        for mask, share in columns:
            one = found[task, mask, share]
            cell = value_cell(one.value, one.finding)
            cells.append(cell._replace(text=f"{cell.text} *") if one.is_own else cell)
        first = found[(task, *columns[0])]
        dense = NONE if first.dense is None else Cell(number(first.dense), kind="number")
        rows.append((Cell(task), Cell(first.finding.metric), dense, *cells))
    names = tuple(f"{mask} at {fraction(share)}" for mask, share in columns)
    table = Table(("task", "metric", "dense", *names), tuple(rows))
    findings = [one.finding for one in study.against_dense]
    notes = _MATRIX_NOTE, explain_family(findings, "Every mask against the dense model")
    numbers = [one.model_dump(mode="json") for one in study.against_dense]
    title = "Masks of tasks on all tasks"
    return Part("masks-on-tasks", title, table, None, notes, list_reasons(findings), numbers)


def _own(study: "Specialisation") -> Part:
    key, title = "own-against-others", "A task's own mask against the others"
    if not study.own_against_others:
        absent = "Not computed: no measured task has a mask of its own and another one."
        return Part(key, title, None, None, (), absent, None)
    rows = tuple(
        (
            Cell(one.task),
            Cell(one.own),
            Cell(one.other),
            Cell(fraction(one.fraction), kind="number"),
            *finding_cells(one.finding),
        )
        for one in study.own_against_others
    )
    table = Table(("task", "own mask", "other mask", "fraction", *HEADERS), rows)
    findings = [one.finding for one in study.own_against_others]
    note = explain_family(
        findings, "Own mask less the other on the task that the own was scored on"
    )
    numbers = [one.model_dump(mode="json") for one in study.own_against_others]
    return Part(key, title, table, None, (note,), list_reasons(findings), numbers)


def mask_overlaps(groups: list[Group], study: "Specialisation") -> Part:
    """What the masks share, pair by pair of one fraction; of several draws the first.

    Args:
        groups: The cells of the run, grouped.
        study: Names the masks.
    """
    key, title = "mask-overlap", "Overlap of the masks"
    masks = {(one.mask, one.fraction) for one in study.against_dense}
    known = [one for one in groups if (one.scorer, one.fraction) in masks and one.cells]
    found = []
    for one, two in itertools.combinations(known, 2):
        overlap = compare_selections(one.cells[0], two.cells[0])
        if one.fraction == two.fraction and overlap is not None:
            found.append(MaskOverlap(one.scorer, two.scorer, one.fraction, overlap))
    if not found:
        absent = "Not computed: the record lists the removed units of fewer than two masks."
        return Part(key, title, None, None, (), absent, None)
    rows = tuple(
        (
            Cell(one.first),
            Cell(one.second),
            Cell(fraction(one.fraction), kind="number"),
            Cell(coefficient(one.overlap.jaccard), str(one.overlap.jaccard), "number"),
            NONE
            if one.overlap.expected is None
            else Cell(coefficient(one.overlap.expected), str(one.overlap.expected), "number"),
        )
        for one in found
    )
    table = Table(("mask", "other mask", "fraction", "overlap", "expected at random"), rows)
    return Part(key, title, table, None, (_OVERLAP_NOTE,), "", tuple(found))
