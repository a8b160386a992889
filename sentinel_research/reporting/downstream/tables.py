"""A downstream run as tables."""

from typing import Any

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.differences import HEADERS, MORE_HEADERS, difference_cells
from sentinel_research.reporting.downstream.results import Score, TaskScores
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.tables import Cell, Table

_NONE = Cell("-", kind="number")
_KINDS: Any = {"above": "good", "below": "bad"}


def scores_table(found: TaskScores) -> Table:
    """A row per model, fine-tuned and before, and the majority class; the best mean first.

    Args:
        found: One task or group.
    """
    headers: tuple[str, ...] = (
        "model",
        "state",
        f"{found.metric.label}, mean",
        "95% interval over seeds",
    )
    headers += ("sd over seeds", "error over documents", "seeds", "majority class")
    worst = float("inf")
    sign = -1 if found.higher_is_better else 1
    ordered = sorted(found.scores, key=lambda one: worst if one.mean is None else sign * one.mean)
    return Table(headers, tuple(_row(one) for one in ordered))


def _row(one: Score) -> tuple[Cell, ...]:
    exact = "; ".join(f"seed {seed}: {value}" for seed, value in one.values.items())
    interval = one.interval and f"{number(one.interval.low)} to {number(one.interval.high)}"
    against = one.against_majority
    return (
        Cell(one.name),
        Cell("-" if one.kind == "majority" else one.kind),
        Cell("not measured", kind="missing")
        if one.mean is None
        else Cell(number(one.mean), exact, "number"),
        _text(interval),
        _number(one.sd),
        _number(one.stderr),
        _text(None if one.kind == "majority" else f"{len(one.values)} of {one.num_asked}"),
        Cell("-" if against == "not comparable" else against, "", _KINDS.get(against, "text")),
    )


def differences_table(results: tuple[TaskScores, ...]) -> Table:
    """A row per task and pair of fine-tuned models.

    Args:
        results: Of all tasks and groups.
    """
    headers = ("task", "first", "second", "first less second", *HEADERS, *MORE_HEADERS)
    rows = (
        (Cell(found.key), Cell(one.first), Cell(one.second), *difference_cells(one))
        for found in results
        for one in found.differences
    )
    return Table(headers, tuple(rows))


def documents_table(record: RunRecord) -> Table:
    """A row per task: what was learnt, what chose, and what was left out."""
    headers: tuple[str, ...] = ("task", "source", "split", "documents", "trained on", "held out")
    headers += ("evaluated too, left out", "most frequent answer")
    rows = []
    for unit in (record.downstream or {}).get("units", {}).values():
        for task, one in unit["documents"].items():
            share = one["majority_share"]
            rows.append(
                (
                    Cell(task),
                    Cell(str(one.get("repo_id") or one.get("source") or "-")),
                    Cell(str(one.get("split") or "-")),
                    _count(one.get("num_documents")),
                    _count(one["num_train"]),
                    _count(one["num_held_out"]),
                    _count(one["num_evaluated_too"]),
                    _text(None if share is None else f"{share:.1%}"),
                )
            )
    return Table(headers, tuple(rows))


def training_table(record: RunRecord) -> Table:
    """A row per fine-tuning: the chosen rate, what it learnt and what it cost."""
    headers: tuple[str, ...] = (
        "cell",
        "learning rate",
        "held-out loss by rate",
        "kept step",
        "steps",
        "seconds",
    )
    headers += ("peak memory, MiB", "status")
    cells = (cell for cell in record.cells if cell.fine_tuned_on is not None)
    return Table(headers, tuple(_training_row(cell) for cell in cells))


def _training_row(cell: CellRecord) -> tuple[Cell, ...]:
    assert cell.arm is not None  # all cells of a downstream run have one
    report = cell.train or {}
    losses = report.get("held_out_losses") or {}
    shown = ", ".join(
        f"{float(rate):g}: {'diverged' if loss is None else number(loss)}"
        for rate, loss in losses.items()
    )
    peak = (report.get("memory") or {}).get("peak_bytes")
    rate = cell.arm.learning_rate
    return (
        Cell(cell.id),
        _text(None if rate is None else f"{rate:g}{_edge(rate, losses)}"),
        Cell(shown or "-"),
        _count(report.get("kept_step")),
        _count(report.get("num_steps")),
        _number(report.get("seconds")),
        _count(None if peak is None else peak / (1 << 20)),
        Cell(cell.status, kind="text" if cell.status == "done" else "bad"),
    )


def _edge(rate: float, losses: dict[str, Any]) -> str:
    rates = sorted(float(one) for one in losses)
    return " (edge of grid)" if len(rates) > 1 and rate in (rates[0], rates[-1]) else ""


def _text(value: str | None) -> Cell:
    return Cell(value, kind="number") if value else _NONE


def _number(value: float | None) -> Cell:
    return _NONE if value is None else Cell(number(value), str(value), "number")


def _count(value: float | None) -> Cell:
    return _NONE if value is None else Cell(f"{value:,.0f}", kind="number")
