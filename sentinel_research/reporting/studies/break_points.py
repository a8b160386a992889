"""From which fraction on each task is lost, as tables."""

from typing import TYPE_CHECKING

from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.numbers import fraction, number
from sentinel_research.reporting.studies.findings import (
    HEADERS,
    NONE,
    explain_family,
    finding_cells,
    list_reasons,
)
from sentinel_research.reporting.tables import Cell, Table

if TYPE_CHECKING:
    from sentinel_research.studies.schema import BreakPoint, BreakPoints, HalfLoss

_NOTE = (
    "Breaks at: the smallest fraction from which on every larger one that was measured is worse "
    "than the dense model; the fractions of a criterion on a task are corrected together. Half "
    "lost at: where the advantage over chance first falls to half of the dense model's, "
    "interpolated between fractions; the interval resamples documents. Chance is one in the "
    "number of choices, whatever the labels' shares, or all tokens alike; of a perplexity the "
    "logarithm counts. Tasks of a criterion are in the order in which half of them is lost."
)


def break_point_parts(study: "BreakPoints") -> tuple[Part, ...]:
    """The parts of a study of break points.

    Args:
        study: What it found.
    """
    return _summary(study), _fractions(study)


def _summary(study: "BreakPoints") -> Part:
    headers: tuple[str, ...] = ("criterion", "task", "metric", "dense", "chance", "breaks at")
    headers += ("half lost at", "95% interval")
    table = Table(headers, tuple(_row(one) for one in study.points))
    reasons = dict.fromkeys(f"{one.task}: {one.reason}." for one in study.points if one.reason)
    numbers = [one.model_dump(mode="json", exclude={"fractions"}) for one in study.points]
    title = "What pruning breaks first"
    return Part("break-points", title, table, None, (_NOTE,), " ".join(reasons), numbers)


def _row(one: "BreakPoint") -> tuple[Cell, ...]:
    return (
        Cell(one.criterion),
        Cell(one.task),
        Cell(one.metric),
        Cell(number(one.dense), str(one.dense), "number"),
        NONE if one.chance is None else Cell(number(one.chance), str(one.chance), "number"),
        Cell("never" if one.breaks_at is None else fraction(one.breaks_at), kind="number"),
        *_half(one.half_loss, one.reason),
    )


def _half(found: "HalfLoss | None", reason: str) -> tuple[Cell, Cell]:
    if found is None:
        return Cell(reason, kind="missing"), NONE
    ends = ["never" if end is None else f"{end:.3f}" for end in (found.low, found.high)]
    value = Cell("never", kind="number")
    if found.value is not None:
        value = Cell(f"{found.value:.3f}", str(found.value), "number")
    return value, Cell(" to ".join(ends), kind="number")


def _fractions(study: "BreakPoints") -> Part:
    rows = tuple(
        (
            Cell(one.criterion),
            Cell(one.task),
            Cell(fraction(at.fraction), kind="number"),
            NONE if at.retained is None else Cell(f"{at.retained:.3f}", str(at.retained), "number"),
            *finding_cells(at.finding),
        )
        for one in study.points
        for at in one.fractions
    )
    headers = ("criterion", "task", "fraction", "advantage left", *HEADERS)
    findings = [at.finding for one in study.points for at in one.fractions]
    note = explain_family(findings, "Every fraction of a criterion on a task against dense")
    note = note.replace("corrected together", "those of a criterion on a task corrected together")
    numbers = [
        {"criterion": one.criterion, "task": one.task, **at.model_dump(mode="json")}
        for one in study.points
        for at in one.fractions
    ]
    title = "Every fraction against the dense model"
    table = Table(headers, rows)
    return Part("by-fraction", title, table, None, (note,), list_reasons(findings), numbers)
