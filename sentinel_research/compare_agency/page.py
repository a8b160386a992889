"""A comparison of agency as a page: its figures, what was measured, and every contrast."""

from collections.abc import Sequence
from typing import Any

from sentinel_research.compare_agency.schema import AgencyResults
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.document import Document, Section
from sentinel_research.reporting.numbers import number, p_value, quantity
from sentinel_research.reporting.svg import Drawing
from sentinel_research.reporting.tables import Cell, Table

_NONE = Cell("-", kind="number")
_KINDS: dict[str, Any] = {"better": "good", "worse": "bad"}


def agency_page(results: AgencyResults, drawings: Sequence[Drawing]) -> Document:
    """Everything that a comparison measured.

    Args:
        results: In any state.
        drawings: Its figures.
    """
    problems = [f"Not measured: {name}: {why}" for name, why in results.not_measured.items()]
    problems += [
        f"Check failed: {check.name} ({check.detail})"
        for check in results.checks
        if not check.passed
    ]
    better = sum(one.verdict == "better" for one in results.contrasts)
    worse = sum(one.verdict == "worse" for one in results.contrasts)
    words = tuple(f"{word}: {meaning}." for word, meaning in results.definitions.items())
    figures = tuple(Part(one.file_name, one.title, None, one, (), "", None) for one in drawings)
    note = "p after Holm's correction over all rows; intervals are 95%."
    return Document(
        kicker="agency under pruning",
        name="Agency under pruning",
        description="",
        synthetic_data=results.synthetic_data,
        problems=tuple(problems),
        verdict=(
            f"{results.status.capitalize()}: of {quantity(len(results.contrasts), 'contrast')} "
            f"agency is better in {better} and worse in {worse}."
        ),
        facts=tuple(
            (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list)
             else str(value))
            for name, value in results.config.items()
            if value is not None
        ),
        sections=(
            Section("Figures", (), figures),
            Section("Agency beside the others", (note,), (_contrasts(results),)),
            Section("What was measured", words, (_points(results),)),
        ),
        source="Every number at full precision is in results.json beside this file.",
    )  # fmt: skip


def _number(value: float | None) -> Cell:
    return _NONE if value is None else Cell(number(value), str(value), "number")


def _temperature(value: float | None) -> Cell:
    return _NONE if value is None else Cell(f"{value:g}", kind="number")


def _contrasts(results: AgencyResults) -> Part:
    headers: tuple[str, ...] = (
        "beside",
        "heads pruned, %",
        "metric",
        "temperature",
        "agency",
        "other",
        "ratio",
    )
    headers += ("low", "high", "p", "agency is")
    rows = tuple(
        (
            Cell(one.second),
            Cell(f"{one.level:g}", kind="number"),
            Cell(one.metric),
            _temperature(one.temperature),
            _number(one.first_mean),
            _number(one.second_mean),
            _number(one.ratio),
            _number(one.ratio_low),
            _number(one.ratio_high),
            _NONE
            if one.p_adjusted is None
            else Cell(p_value(one.p_adjusted), str(one.p_adjusted), "number"),
            Cell(one.verdict, one.reason, _KINDS.get(one.verdict, "text")),
        )
        for one in results.contrasts
    )
    return Part("contrasts", "Every contrast", Table(headers, rows), None, (), "", None)


def _points(results: AgencyResults) -> Part:
    headers = ("arm", "heads pruned, %", "metric", "temperature", "mean", "low", "high")
    rows = tuple(
        (
            Cell(one.arm),
            Cell(f"{one.level:g}", kind="number"),
            Cell(one.metric),
            _temperature(one.temperature),
            *map(_number, (one.mean, one.low, one.high)),
        )
        for one in results.points
    )
    return Part("points", "Every mean", Table(headers, rows), None, (), "", None)
