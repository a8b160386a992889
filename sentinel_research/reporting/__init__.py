"""The report of one run: `report.html`, `report.md`, `report.json`, from nothing but its record.

The record is the truth. The first two are views of it for people; the third has the numbers that
they derive from it, at full precision. The same record gives the same bytes. What was not measured
is said and never drawn.
"""

from pathlib import Path
from typing import NamedTuple

from sentinel_research.files import write_atomically
from sentinel_research.record import RunRecord
from sentinel_research.reporting.export import render_json
from sentinel_research.reporting.page import build_page
from sentinel_research.reporting.render import render_html, render_markdown
from sentinel_research.reporting.terminal import summary

__all__ = ["ReportFiles", "report", "summary"]


class ReportFiles(NamedTuple):
    """The files written; the Markdown shows the SVG files beside it."""

    html: Path
    """One self-contained file."""
    markdown: Path
    """The same in short form."""
    json: Path
    """The derived numbers at full precision."""


def report(folder: Path) -> ReportFiles:
    """Write the report of a run into the run's own folder.

    Args:
        folder: A folder with a `record.json`; the run may still be going or have failed.

    Returns:
        The files written.

    Raises:
        UsageError: if the folder holds no record that this version reads.
        SentinelError: if the folder cannot be written.
    """
    page = build_page(RunRecord.read(folder))
    for figure in page.figures():
        write_atomically(folder / figure.file_name, figure.svg)
    files = ReportFiles(*(folder / f"report.{suffix}" for suffix in ("html", "md", "json")))
    write_atomically(files.json, render_json(page))
    write_atomically(files.markdown, render_markdown(page))
    write_atomically(files.html, render_html(page))
    return files
