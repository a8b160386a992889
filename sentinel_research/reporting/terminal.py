"""The result of a run in a few lines of plain text, for the end of `sentinel run`."""

from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import group_cells, list_metrics, list_tasks
from sentinel_research.reporting.page import list_problems, verdict
from sentinel_research.reporting.tables import Table, results_table

_HEADERS = ("scorer", "fraction", "seeds", "interval", "ratio to dense")


def summary(record: RunRecord) -> str:
    """Problems first, then the plotted metric of every task.

    Args:
        record: A run in any state.

    Returns:
        Lines without a final newline.
    """
    groups = group_cells(record)
    mark = " (synthetic data)" if record.synthetic_data else ""
    lines = [f"{record.name}{mark}: {verdict(record)}"]
    lines += [f"! {problem}" for problem in list_problems(record, groups)]
    for task in list_tasks(record):
        metrics = list_metrics(record, task)[:1]
        lines += ["", task]
        if metrics:
            lines += _aligned(results_table(record, groups, task, metrics))
        else:
            lines.append("no cell was measured")
    return "\n".join(lines)


def _aligned(table: Table) -> list[str]:
    shown = [
        column
        for column, header in enumerate(table.headers)
        if header in _HEADERS or header.endswith("±")
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
