"""The tables of a report, as data: both the HTML and the Markdown print these."""

import json
import re
from typing import Any, Literal, NamedTuple

from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import (
    Estimate,
    Group,
    Metric,
    cell_in_words,
    estimate,
    explain_missing,
    measured,
)
from sentinel_research.reporting.numbers import counts, fraction, number, some, with_error

_HASH = re.compile(r"((?:sha256[:-])?[0-9a-f]{12})[0-9a-f]{4,}")
_DATASET_COLUMNS = ("source", "id", "repo_id", "config", "split", "revision", "files")
# what the report reads of a prune stage's report
_REMOVED = "num_removed"
_BEFORE = "num_before"
_PARAMETERS_BEFORE = "num_parameters_before"
_PARAMETERS_AFTER = "num_parameters_after"
_PARAMETERS_NONZERO = "num_nonzero_parameters_after"
_WEIGHTS = ("weight", "2:4")
NOT_RECORDED = "not recorded"
NOT_MEASURED = "not measured"


class Cell(NamedTuple):
    """One entry of a table."""

    text: str
    """What is printed."""
    title: str = ""
    """The full value, where `text` shortens it."""
    kind: Literal["text", "number", "good", "bad", "missing", "code"] = "text"
    """How it is shown."""


class Table(NamedTuple):
    """A table with its heading row."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def first(self, most: int) -> "Table":
        """The same with at most so many rows."""
        return self if len(self.rows) <= most else Table(self.headers, self.rows[:most])

    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers only, which are aligned right."""
        numbers = ("number", "missing")
        columns = range(len(self.headers))
        return [all(row[column].kind in numbers for row in self.rows) for column in columns]


def results_table(
    record: RunRecord, groups: list[Group], task: str, metrics: list[Metric]
) -> Table:
    """Every metric of a task, a row per scorer and fraction.

    Args:
        record: The run.
        groups: Its cells, grouped.
        task: The task.
        metrics: The plotted metric first: it gets its interval and its ratio to the dense model.
    """
    first, *others = metrics
    dense = estimate(next(group for group in groups if group.is_dense), task, first)
    # what a phone shows without scrolling comes first
    headers = ["scorer", "fraction", f"{first.label} ±", "interval", "ratio to dense"]
    headers += ["seeds", "removed", "parameters"]
    headers += [f"{metric.label} ±" for metric in others]
    rows = []
    for group in groups:
        found = estimate(group, task, first)
        rows.append(
            (
                Cell(group.scorer),
                Cell(fraction(group.fraction), kind="number"),
                _value(group, task, first),
                _interval(found),
                _ratio(found, dense),
                Cell(_seeds(group, task, first), kind="number"),
                Cell(_removed(group), kind="number"),
                Cell(_parameters(record, group), kind="number"),
                *(_value(group, task, metric) for metric in others),
            )
        )
    return Table(tuple(headers), tuple(rows))


def _seeds(group: Group, task: str, metric: Metric) -> str:
    asked = len(group.cells)
    if group.is_dense or not asked:
        return "-"
    found = sum(measured(cell, task, metric) is not None for cell in group.cells)
    return str(asked) if found == asked else f"{found} of {asked}"


def _removed(group: Group) -> str:
    """Units removed of all units, per kind of which any went."""
    if group.is_dense:
        return "0"
    reports = [cell.prune for cell in group.cells if cell.prune]
    found = [report for report in reports if _REMOVED in report]
    if not found:
        return NOT_RECORDED if reports else "-"
    kinds = dict.fromkeys(kind for report in found for kind in report[_REMOVED])
    parts = []
    for kind in kinds:
        gone = [report[_REMOVED].get(kind, 0) for report in found]
        before = [report[_BEFORE][kind] for report in found if kind in report.get(_BEFORE, {})]
        if any(gone):
            of = f"{counts(gone)} of {counts(before)}" if before else counts(gone)
            parts.append(f"{of} {kind.replace('_', ' ')}{'' if of == '1' else 's'}")
    return ", ".join(parts) or "0"


def _parameters(record: RunRecord, group: Group) -> str:
    if group.is_dense:
        known = [(cell.prune or {}).get(_PARAMETERS_BEFORE) for cell in record.cells]
        found = [count for count in known if count is not None]
        return counts(found) if found else "-"
    before, after = _recorded(group, _PARAMETERS_BEFORE), _recorded(group, _PARAMETERS_AFTER)
    if any(_prunes_weights(cell.prune_spec or {}) for cell in group.cells):
        return f"{after}, {_recorded(group, _PARAMETERS_NONZERO)} not zero"
    return before if before == after else f"{before} → {after}"


def _prunes_weights(spec: dict[str, Any]) -> bool:
    kinds = spec.get("granularity")
    return any(kind in _WEIGHTS for kind in ([kinds] if isinstance(kinds, str) else kinds or []))


def _recorded(group: Group, key: str) -> str:
    """A count of the prune stage: "-" where it did not run, said aloud where it left it out."""
    reports = [cell.prune for cell in group.cells if cell.prune]
    if not reports:
        return "-"
    found = [report[key] for report in reports if key in report]
    return counts(found) if found else NOT_RECORDED


def _value(group: Group, task: str, metric: Metric) -> Cell:
    found = estimate(group, task, metric)
    if found is None:
        reason = explain_missing(group, task, metric) or ""
        return Cell(NOT_MEASURED, reason, "missing")
    exact = []
    for cell in group.cells:
        one = measured(cell, task, metric)
        if one is not None:
            name = "" if group.repeats == "nothing" else f"{cell_in_words(group, cell)}: "
            error = "" if one.stderr is None else f" ± {one.stderr}"
            exact.append(f"{name}{one.value}{error}")
    return Cell(with_error(found.value, found.stderr), "; ".join(exact), "number")


def _interval(found: Estimate | None) -> Cell:
    if found is None or found.interval is None:
        return Cell("-", kind="number")
    low, high = number(found.interval.low), number(found.interval.high)
    if found.over == "masks":
        return Cell(f"{low} to {high} (range)", f"of {found.num_cells} masks", "number")
    over = "t over calibration seeds" if found.over == "calibration" else "over documents"
    return Cell(f"{low} to {high}", over, "number")


def _ratio(found: Estimate | None, dense: Estimate | None) -> Cell:
    if found is None or dense is None or dense.value == 0:
        return Cell("-", kind="number")
    ratio = found.value / dense.value
    return Cell(f"{ratio:.3f}", str(ratio), "number")


def measurements_table(record: RunRecord) -> Table:
    """Every measurement of every cell, unaggregated."""
    rows = [
        (
            Cell(cell.id),
            Cell(one.task),
            Cell(one.metric if one.filter == "none" else f"{one.metric} ({one.filter})"),
            Cell(with_error(one.value, one.stderr), str(one.value), "number"),
            Cell(counts([cell.evaluation.num_documents[one.task]]), kind="number")
            if one.task in cell.evaluation.num_documents
            else Cell("-", kind="number"),
        )
        for cell in record.cells
        if cell.evaluation is not None
        for one in cell.evaluation.measurements
    ]
    return Table(("cell", "task", "metric", "value ± standard error", "documents"), tuple(rows))


def checks_table(record: RunRecord) -> Table:
    """Every check of the run and of its cells, failed ones first."""
    found = [("run", check) for check in record.checks]
    found += [(cell.id, check) for cell in record.cells for check in cell.checks]
    rows = [
        (
            Cell("passed", kind="good") if check.passed else Cell("FAILED", kind="bad"),
            Cell(where),
            Cell(check.name),
            Cell(check.detail),
        )
        for where, check in sorted(found, key=lambda pair: pair[1].passed)
    ]
    return Table(("verdict", "of", "check", "detail"), tuple(rows))


def errors_table(record: RunRecord) -> Table:
    """Why cells failed."""
    rows = [
        (Cell(cell.id), Cell(cell.status, kind="bad"), Cell(cell.error or "no reason recorded"))
        for cell in record.cells
        if cell.status == "failed" or cell.error is not None
    ]
    return Table(("cell", "status", "error"), tuple(rows))


def not_measured_table(record: RunRecord) -> Table:
    """Metrics that a task declares and did not return, with the reason and the cells."""
    num_evaluated = sum(cell.evaluation is not None for cell in record.cells)
    cells: dict[tuple[str, str], list[str]] = {}
    for cell in record.cells:
        for metric, reason in (cell.evaluation.not_measured if cell.evaluation else {}).items():
            cells.setdefault((metric, reason), []).append(cell.id)
    rows = [
        (
            Cell(metric),
            Cell(reason),
            Cell("all" if len(found) == num_evaluated else some(found)),
        )
        for (metric, reason), found in cells.items()
    ]
    return Table(("metric", "reason", "evaluated cells"), tuple(rows))


def datasets_table(record: RunRecord) -> Table:
    """Where every dataset came from; columns that no dataset fills are left out."""
    known = [key for entry in record.datasets for key, value in entry.items() if value]
    first = [key for key in _DATASET_COLUMNS if key in known]
    columns = list(dict.fromkeys([*first, *known]))
    rows = [
        tuple(plain_cell(entry[key]) if key in entry else Cell("-") for key in columns)
        for entry in record.datasets
    ]
    return Table(tuple(column.replace("_", " ") for column in columns), tuple(rows))


def settings_table(settings: dict[str, Any] | None) -> Table:
    """A mapping as name and value, nested names dotted, lists of records left out."""
    rows = [(Cell(name), plain_cell(value)) for name, value in _flatten(settings or {})]
    return Table(("name", "value"), tuple(rows))


def _flatten(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found += _flatten(value, f"{prefix}{key}.")
        elif not (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
            found.append((f"{prefix}{key}", value))
    return found


def plain_cell(value: Any) -> Cell:
    """Any JSON value; hashes are shortened, their full form is the title."""
    if value is None:
        return Cell("-")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        # a seed or a year is no quantity: only long numbers are grouped
        return Cell(f"{value:,}" if abs(value) >= 10_000 else str(value), kind="number")
    if isinstance(value, float):
        return Cell(number(value), str(value), "number")
    if isinstance(value, str):
        return Cell(_short(value), value if _short(value) != value else "")
    if isinstance(value, dict):
        parts = [f"{key}: {plain_cell(item).text}" for key, item in value.items()]
    else:
        parts = [plain_cell(item).text for item in value]
    return Cell(", ".join(parts) or "-", json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    found = _HASH.fullmatch(text)
    return f"{found[1]}…" if found else text
