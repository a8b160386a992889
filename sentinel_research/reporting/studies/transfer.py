"""Plans that were made for another model, as a table."""

from typing import TYPE_CHECKING

from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.numbers import fraction, p_value
from sentinel_research.reporting.studies.findings import (
    HEADERS,
    NONE,
    explain_family,
    finding_cells,
    list_reasons,
)
from sentinel_research.reporting.tables import Cell, Table

if TYPE_CHECKING:
    from sentinel_research.studies.schema import MovedPlan, Transfer

_RANDOM_NOTE = (
    "Random masks beaten: those of the same fraction whose model is worse, of all; their p is the "
    "exact randomisation test's, corrected by Holm over the plans of the table, and cannot fall "
    "below twice one over the masks plus one. Of several draws of a calibration text the first."
)


def transfer_parts(study: "Transfer") -> tuple[Part, ...]:
    """The parts of a study of transfer.

    Args:
        study: What it found.
    """
    headers: tuple[str, ...] = ("task", "moved plan", "made for", "native plan", "fraction")
    headers += (*HEADERS, "random masks beaten", "their p")
    table = Table(headers, tuple(_row(one) for one in study.plans))
    findings = [one.finding for one in study.plans if one.finding is not None]
    lacking = [
        f"{one.moved}: no native plan was measured." for one in study.plans if not one.native
    ]
    absent = " ".join(part for part in (list_reasons(findings), *dict.fromkeys(lacking)) if part)
    notes = explain_family(findings, "Moved plan less the native one"), _RANDOM_NOTE
    numbers = [one.model_dump(mode="json") for one in study.plans]
    title = "Plans made for another model"
    return (Part("moved-plans", title, table, None, notes, absent, numbers),)


def _row(one: "MovedPlan") -> tuple[Cell, ...]:
    found = (NONE,) * len(HEADERS) if one.finding is None else finding_cells(one.finding)
    among: tuple[Cell, ...] = (NONE, NONE)
    if one.random_p is not None:
        beaten = Cell(f"{one.num_beaten} of {one.num_random}", kind="number")
        among = beaten, Cell(p_value(one.random_p), str(one.random_p), "number")
    return (
        Cell(one.task),
        Cell(one.moved),
        Cell(one.made_for),
        Cell(one.native or "-"),
        Cell(fraction(one.fraction), kind="number"),
        *found,
        *among,
    )
