"""What a tracker gets at the end of a run: the record, its report, the plots, and a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel_research.record import INDEX_FILE, RECORD_FILE, CellRecord, RunRecord

_REPORTS = ("report.html", "report.md", "report.json")
COLUMNS = ("cell", "task", "metric", "value", "standard error", "higher is better")
Row = tuple[str, str, str, float, float | None, bool | None]


class Final(NamedTuple):
    """One record and what was made of it."""

    label: str
    """The model's name in a sweep; empty outside of one."""
    files: tuple[Path, ...]
    """Record and report."""
    figures: tuple[Path, ...]
    """Plots as SVG."""
    rows: tuple[Row, ...]
    """Every measurement of every cell, as `COLUMNS`."""
    verdict: str
    """How the run ended, in a word or a sentence."""

    def place(self, name: str) -> str:
        """A name among those of all models."""
        return f"{self.label}/{name}" if self.label else name

    def table_as_csv(self) -> str:
        """The rows for programs; a number that is not there is an empty field."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([COLUMNS, *self.rows])
        return text.getvalue()

    def table_as_markdown(self) -> str:
        """The rows for people."""
        lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
        lines += [" | ".join("" if one is None else str(one) for one in row) for row in self.rows]
        return "\n".join(f"| {line} |" for line in lines)


def final_of(record: RunRecord, folder: Path, label: str) -> Final:
    """Gather what is written of a run.

    Args:
        record: Of the run.
        folder: With its files.
        label: Of the model in a sweep.
    """
    names = (RECORD_FILE, INDEX_FILE, *_REPORTS)
    return Final(
        label,
        tuple(folder / name for name in names if (folder / name).is_file()),
        tuple(sorted(folder.glob("*.svg"))),
        tuple(row for cell in record.cells for row in _rows(cell)),
        record.status if record.error is None else f"{record.status}: {record.error}",
    )


def numbers_of(label: str, cell: CellRecord) -> dict[str, float]:
    """What was measured of a cell, by LABEL/TASK/METRIC.

    Args:
        label: The cell's name in its run.
        cell: In any state; one without an evaluation has no numbers.
    """
    return {f"{label}/{task}/{metric}": value for _, task, metric, value, _, _ in _rows(cell)}


def _rows(cell: CellRecord) -> Sequence[Row]:
    if cell.evaluation is None:
        return ()
    return [
        (
            cell.id,
            one.task,
            one.metric if one.filter == "none" else f"{one.metric},{one.filter}",
            one.value,
            one.stderr,
            one.higher_is_better,
        )
        for one in cell.evaluation.measurements
    ]
