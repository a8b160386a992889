"""The report of one run: `report.html`, `report.md`, `report.json`, from nothing but its record.

The record is the truth. The first two are views of it for people; the third has the numbers that
they derive from it, at full precision. The same record gives the same bytes. What was not measured
is said and never drawn.
"""

from pathlib import Path
from typing import NamedTuple

from sentinel_research.files import write_atomically
from sentinel_research.record import INDEX_FILE, MODELS_FOLDER, RECORD_FILE, RunRecord
from sentinel_research.reporting.document import Document, write_document
from sentinel_research.reporting.export import render_document, render_json
from sentinel_research.reporting.joined import joined_page, read_models
from sentinel_research.reporting.joined.results import Swept
from sentinel_research.reporting.page import build_page
from sentinel_research.reporting.render import render_html, render_markdown
from sentinel_research.reporting.terminal import summary

__all__ = ["ReportFiles", "report", "report_document", "report_sweep", "summary"]


class ReportFiles(NamedTuple):
    """The files written; the Markdown shows the SVG files beside it."""

    html: Path
    """One self-contained file."""
    markdown: Path
    """The same in short form."""
    json: Path
    """The derived numbers at full precision."""


def report(folder: Path) -> ReportFiles:
    """Write the report of a run, or of a sweep and its models, into its own folder.

    Args:
        folder: A folder with a `record.json`, a sweep's, or one of a sweep's models; what is
            reported may still be going or have failed.

    Returns:
        The files written; those of a sweep's models are in their own folders.

    Raises:
        UsageError: if the folder holds no record that this version reads.
        SentinelError: if the folder cannot be written.
    """
    swept = read_models(folder)
    if swept is not None:
        for name, record in swept.records.items():
            _report_run(folder / MODELS_FOLDER / name, record)
        return _report_sweep(folder, swept)
    return _report_run(folder, RunRecord.read(folder))


def report_sweep(folder: Path) -> ReportFiles | None:
    """Write the joined report of a sweep alone, without those of its models.

    Args:
        folder: Of the sweep.

    Returns:
        The files; None if the sweep is of one model, whose report is the sweep's.
    """
    swept = read_models(folder)
    return None if swept is None else _report_sweep(folder, swept)


def report_document(document: Document, folder: Path) -> ReportFiles:
    """Write a page of parts as the report of a folder.

    Args:
        document: What it says.
        folder: Exists.

    Raises:
        SentinelError: if the folder cannot be written.
    """
    write_atomically(folder / "report.json", render_document(document))
    html = write_document(document, folder, "report")
    return ReportFiles(html, folder / "report.md", folder / "report.json")


def _report_sweep(folder: Path, swept: Swept) -> ReportFiles:
    return report_document(joined_page(swept), folder)


def _report_run(folder: Path, record: RunRecord) -> ReportFiles:
    # a sweep's model has an index, and a record for every cell
    name = RECORD_FILE if (folder / RECORD_FILE).exists() else INDEX_FILE
    page = build_page(record)._replace(record_file=name)
    for figure in page.figures():
        write_atomically(folder / figure.file_name, figure.svg)
    files = ReportFiles(*(folder / f"report.{suffix}" for suffix in ("html", "md", "json")))
    write_atomically(files.json, render_json(page))
    write_atomically(files.markdown, render_markdown(page))
    write_atomically(files.html, render_html(page))
    return files
