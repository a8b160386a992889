"""The result of a run in a few lines of plain text, for the end of `sentinel run`."""

from typing import Any

from sentinel_research.record import RunRecord
from sentinel_research.reporting.architectures import compare_architectures
from sentinel_research.reporting.downstream import compare_downstream
from sentinel_research.reporting.estimates import group_cells, list_metrics, list_tasks
from sentinel_research.reporting.generation import compare_generations
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.outcome import compares_models, list_problems, verdict
from sentinel_research.reporting.recovery import compare_recoveries
from sentinel_research.reporting.tables import Table, results_table
from sentinel_research.visible import visible

_RECOVERY_HEADERS: tuple[str, ...] = ("scorer", "fraction", "recovery", "before", "after")
_RECOVERY_HEADERS += ("regained of dense", "interval of dense")
_RECOVERY_HEADERS += ("regained of control", "interval of control", "seeds")
_GENERATION_HEADERS: tuple[str, ...] = ("model", "distinct-2", "seq-rep-4", "self-BLEU")
_GENERATION_HEADERS += ("first token, ms", "latency ratio")
_GENERATION_HEADERS += ("tokens per second after it", "speed ratio")
_HEADERS = ("scorer", "fraction", "seeds", "interval", "ratio to dense")


def summary(record: RunRecord) -> str:
    """Problems first, then the plotted metric of every task.

    Args:
        record: A run in any state.

    Returns:
        Lines without a final newline.
    """
    is_comparison = compares_models(record)
    groups = [] if is_comparison else group_cells(record)
    mark = " (synthetic data)" if record.synthetic_data else ""
    lines = [f"{record.name}{mark}: {verdict(record)}"]
    lines += [f"! {problem}" for problem in list_problems(record, groups)]
    lines += [_training(record.train)] if record.train else []
    for part in (*compare_architectures(record), *compare_downstream(record)):
        if part.table is not None and part.key.startswith(("results", "differences")):
            lines += ["", part.title, *_aligned(part.table, part.table.headers)]
    for task in () if is_comparison else list_tasks(record):
        metrics = list_metrics(record, task)[:1]
        lines += ["", task]
        if metrics:
            lines += _aligned(results_table(record, groups, task, metrics))
        else:
            lines.append("no cell was measured")
    for part in compare_recoveries(record):
        if part.table is not None and part.key.startswith("results"):
            lines += ["", part.title, *_aligned(part.table, _RECOVERY_HEADERS)]
        if part.table is not None and part.key.startswith("claim"):
            lines += ["", *part.notes[:-1]]
    for part in compare_generations(record):
        if part.key in ("quality", "speed"):
            lines += ["", part.title]
            lines += [] if part.table is None else _aligned(part.table, _GENERATION_HEADERS)
            lines += [part.absent] if part.absent else []
    return visible("\n".join(lines))


def _training(report: dict[str, Any]) -> str:
    losses, validation = report.get("losses") or [], report.get("validation_loss")
    parts = [f"training: {report['num_steps']:,} steps"]
    parts += [f"loss {number(losses[-1]['loss'])} nats per token"] if losses else []
    parts += [f"validation loss {number(validation)}"] if validation is not None else []
    return ", ".join(parts)


def _aligned(table: Table, headers: tuple[str, ...] = _HEADERS) -> list[str]:
    shown = [
        column
        for column, header in enumerate(table.headers)
        if header in headers or header.endswith("±")
    ]
    rows = [[table.headers[column] for column in shown]]
    rows += [[row[column].text for column in shown] for row in table.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(shown))]
    right = [table.numeric()[column] for column in shown]
    return [
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
