"""The comparison of recoveries as tables."""

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.criteria.scores import Mean
from sentinel_research.reporting.differences import HEADERS, MORE_HEADERS, difference_cells
from sentinel_research.reporting.numbers import coefficient, fraction, number
from sentinel_research.reporting.recovery.claim import Claim
from sentinel_research.reporting.recovery.comparisons import Compared
from sentinel_research.reporting.recovery.regained import Regained
from sentinel_research.reporting.recovery.results import (
    RecoveryResult,
    TaskRecoveries,
    name_of,
    recovered_cells,
)
from sentinel_research.reporting.recovery.scale import Scale
from sentinel_research.reporting.tables import NOT_MEASURED, Cell, Table

_NONE = Cell("-", kind="number")
_OF_SEED = "of one mask, the same for all seeds"


def results_table(found: TaskRecoveries) -> Table:
    """A row per recovery of every pruning, the dense controls first.

    Args:
        found: The recoveries on one task.
    """
    scale = found.scale
    headers: tuple[str, ...] = (
        "scorer",
        "fraction",
        "recovery",
        "before",
        "after",
        "interval of after",
    )
    headers += ("regained of dense", "interval of dense", "regained of control")
    headers += ("interval of control", f"change, {scale.unit}", "interval of change", "seeds")
    return Table(headers, tuple(_result_row(one, scale) for one in found.results))


def _result_row(one: RecoveryResult, scale: Scale) -> tuple[Cell, ...]:
    missing = Cell(NOT_MEASURED, kind="missing")
    change = one.change
    return (
        Cell(one.scorer),
        Cell(fraction(one.fraction), kind="number"),
        Cell(one.recovery),
        missing if one.before is None else _value(one.before, scale, _starts(one, scale)),
        missing if one.after is None else _value(one.after, scale, _ends(one, scale)),
        _NONE
        if one.after is None or one.after.interval is None
        else _range(scale.interval_in_metric(one.after.interval)[1:], "t over seeds"),
        *(cell for regained in one.regained for cell in _regained(regained)),
        # the dense model has lost nothing
        *([] if one.regained else [_NONE] * 4),
        _NONE if change is None else Cell(f"{change.value:+.4f}", str(change.value), "number"),
        _NONE
        if change is None or change.interval is None
        else Cell(f"{change.interval.low:+.4f} to {change.interval.high:+.4f}", kind="number"),
        Cell(_seeds(len(one.repetitions), one.num_asked), kind="number"),
    )


def _value(mean: Mean, scale: Scale, exact: str) -> Cell:
    return Cell(number(scale.in_metric(mean.value)), exact or _OF_SEED, "number")


def _starts(one: RecoveryResult, scale: Scale) -> str:
    values = {seed.seed: scale.in_metric(seed.before.value) for seed in one.repetitions}
    is_shared = len(set(values.values())) < 2
    return "" if is_shared else "; ".join(f"seed {seed}: {value}" for seed, value in values.items())


def _ends(one: RecoveryResult, scale: Scale) -> str:
    return "; ".join(
        f"seed {seed.seed}: {scale.in_metric(seed.after.value)}" for seed in one.repetitions
    )


def _regained(one: Regained) -> tuple[Cell, Cell]:
    if one.value is None:
        return Cell("-", one.reason, "number"), _NONE
    value = Cell(coefficient(one.value), str(one.value), "number")
    if one.interval is None:
        return value, Cell("-", one.reason, "number")
    low, high = coefficient(one.interval.low), coefficient(one.interval.high)
    return value, Cell(f"{low} to {high}", "Fieller over seeds", "number")


def _range(ends: tuple[float, ...], title: str) -> Cell:
    low, high = map(number, ends)
    return Cell(f"{low} to {high}", title, "number")


def _seeds(found: int, asked: int) -> str:
    return str(asked) if found == asked else f"{found} of {asked}"


def claim_table(claim: Claim) -> Table:
    """A row per criterion, recovery and reference.

    Args:
        claim: As decided.
    """
    headers = ("scorer", "recovery", "reference", "regained", "95% interval", "nearly all")
    rows = []
    for case in claim.cases:
        kind = {"true": "good", "false": "bad"}.get(case.answer, "text")
        rows.append(
            (
                Cell(case.scorer),
                Cell(case.recovery),
                Cell(case.reference),
                *_regained(case.regained),
                Cell(case.answer, case.regained.reason, kind),  # type: ignore[arg-type]
            )
        )
    return Table(headers, tuple(rows))


def compared_table(rows: tuple[Compared, ...], scale: Scale, other: str) -> Table:
    """A row per comparison.

    Args:
        rows: At least one.
        scale: On which they were compared.
        other: Heading of what each is compared with.
    """
    headers = ("scorer", "fraction", "recovery", other, f"difference, {scale.unit}")
    return Table(
        (*headers, *HEADERS, *MORE_HEADERS),
        tuple(
            (
                Cell(one.scorer),
                Cell(fraction(one.fraction), kind="number"),
                Cell(one.recovery),
                Cell(one.against),
                *difference_cells(one.difference),
            )
            for one in rows
        ),
    )


def failures_table(record: RunRecord) -> Table:
    """Every recovered cell without a result, with the reason.

    Args:
        record: A run with recoveries.
    """
    rows = tuple(
        (Cell(name_of(cell)), Cell(_how(cell), kind="bad"), Cell(_reason(cell)))
        for cell in recovered_cells(record)
        if cell.status != "done"
    )
    return Table(("recovery", "status", "reason"), rows)


def _how(cell: CellRecord) -> str:
    phases = (cell.recover or {}).get("phases") or [{}]
    diverged = phases[-1].get("diverged")
    return f"diverged at step {diverged['step']}" if diverged else cell.status


def _reason(cell: CellRecord) -> str:
    if cell.error is not None or cell.status == "failed":
        return cell.error or "no reason recorded"
    return "not reached" if cell.recover is None else "trained, not measured"
