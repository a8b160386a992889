"""Do other draws of a text, other texts and other criteria order the units alike?

Pairs of prunings differ in one thing: in the draw of the calibration text, in the text itself (of
the same seed), or in the criterion (on the same draw of the same text).
"""

import itertools
from collections.abc import Iterator
from statistics import fmean
from typing import Any, Literal, NamedTuple

from sentinel_research.record import CellRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.criteria.scores import by_stratum
from sentinel_research.reporting.criteria.stability import compare_selections
from sentinel_research.reporting.estimates import Group, calibration_seed
from sentinel_research.reporting.numbers import coefficient, fraction
from sentinel_research.reporting.studies.findings import NONE
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.statistics import rank_correlation

Change = Literal["draw", "text", "criterion"]
_NOTE = (
    "Spearman's rho between the scores of all units, and Jaccard overlap of the units removed with "
    "its exact expectation for random selections of the same sizes: means over pairs, with the "
    "range of rho. Pairs share draws and are not independent, so that there is no interval."
)


class Likeness(NamedTuple):
    """How alike prunings are that differ in one thing."""

    changed: Change
    """In what."""
    first: str
    """The text and criterion of one side, as far as they are fixed."""
    second: str
    """Of the other side; empty where only the draw differs."""
    fraction: float
    num_pairs: int
    rho: float | None
    """Mean; null where scores have no order."""
    lowest_rho: float | None
    highest_rho: float | None
    overlap: float | None
    """Mean Jaccard overlap; null where nothing went."""
    expected: float | None
    """Mean of its expectations at random."""


class _Side(NamedTuple):
    text: str
    criterion: str
    draw: int
    cell: CellRecord


def importance_parts(groups: list[Group]) -> tuple[Part, ...]:
    """The parts of a study of importance.

    Args:
        groups: The cells of the run, grouped.
    """
    found = compare_importance(groups)
    key, title = "importance", "Stability of importance"
    if not found:
        absent = "Not computed: the record holds the scores of fewer than two prunings."
        return (Part(key, title, None, None, (), absent, None),)
    table = Table(
        ("what differs", "of", "and", "fraction", "rho", "range", "overlap", "at random", "pairs"),
        tuple(_row(one) for one in found),
    )
    return (Part(key, title, table, None, (_NOTE,), "", tuple(found)),)


def compare_importance(groups: list[Group]) -> list[Likeness]:
    """Every pair of prunings that differ in one thing, by what they differ in.

    Args:
        groups: The cells of a run, grouped; those whose scores the record lacks are passed over.
    """
    found = []
    for share in sorted({group.fraction for group in groups if group.fraction > 0}):
        pairs: dict[tuple[Change, str, str], list[tuple[CellRecord, CellRecord]]] = {}
        sides = [side for one in groups if one.fraction == share for side in _sides(one)]
        for one, two in itertools.combinations(sides, 2):
            differs = _difference(one, two)
            if differs is not None:
                pairs.setdefault(differs, []).append((one.cell, two.cell))
        found += [_likeness(names, share, cells) for names, cells in pairs.items()]
    order = {"draw": 0, "text": 1, "criterion": 2}
    return sorted(found, key=lambda one: (one.fraction, order[one.changed]))


def _sides(group: Group) -> Iterator[_Side]:
    for cell in group.cells:
        spec: dict[str, Any] = cell.prune_spec or {}
        text = spec.get("calibration")
        if text is not None and group.repeats != "masks" and (_plan(cell)).get("scores"):
            name = str(text["corpus"] or text["task"])
            yield _Side(name, spec["scorer"], calibration_seed(spec) or 0, cell)


def _plan(cell: CellRecord) -> dict[str, Any]:
    return (cell.prune or {}).get("plan") or {}


def _difference(one: _Side, two: _Side) -> tuple[Change, str, str] | None:
    if one[:2] == two[:2]:
        return "draw", f"{one.criterion} on {one.text}", ""
    if one.draw != two.draw:
        return None
    if one.criterion == two.criterion:
        return "text", f"{one.criterion} on {one.text}", f"on {two.text}"
    if one.text == two.text:
        return "criterion", f"{one.criterion} on {one.text}", two.criterion
    return None


def _likeness(
    names: tuple[Change, str, str], share: float, pairs: list[tuple[CellRecord, CellRecord]]
) -> Likeness:
    rhos = [rho for one, two in pairs if (rho := _rho(one, two)) is not None]
    overlaps = [found for one, two in pairs if (found := compare_selections(one, two)) is not None]
    expected = [one.expected for one in overlaps if one.expected is not None]
    return Likeness(
        *names,
        fraction=share,
        num_pairs=len(pairs),
        rho=fmean(rhos) if rhos else None,
        lowest_rho=min(rhos, default=None),
        highest_rho=max(rhos, default=None),
        overlap=fmean(one.jaccard for one in overlaps) if overlaps else None,
        expected=fmean(expected) if expected else None,
    )


def _rho(one: CellRecord, two: CellRecord) -> float | None:
    first, second = (by_stratum(_plan(cell)["scores"]) for cell in (one, two))
    if {key: len(of) for key, of in first.items()} != {key: len(of) for key, of in second.items()}:
        return None
    values = [
        [value for stratum in sorted(side) for value in side[stratum]] for side in (first, second)
    ]
    return rank_correlation(*values).spearman


def _row(one: Likeness) -> tuple[Cell, ...]:
    span = "-"
    if one.lowest_rho is not None and one.highest_rho is not None:
        span = f"{coefficient(one.lowest_rho)} to {coefficient(one.highest_rho)}"
    return (
        Cell(one.changed),
        Cell(one.first),
        Cell(one.second or "-"),
        Cell(fraction(one.fraction), kind="number"),
        _number(one.rho),
        Cell(span, kind="number"),
        _number(one.overlap),
        _number(one.expected),
        Cell(str(one.num_pairs), kind="number"),
    )


def _number(value: float | None) -> Cell:
    return NONE if value is None else Cell(coefficient(value), str(value), "number")
