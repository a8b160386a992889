"""A page of any kind: sections of parts, which HTML and Markdown print alike."""

from pathlib import Path
from typing import NamedTuple

from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.svg import Drawing


class Section(NamedTuple):
    """A heading with what belongs below it."""

    title: str
    notes: tuple[str, ...]
    """Above the parts."""
    parts: tuple[Part, ...]


class Document(NamedTuple):
    """Everything that a page says, in its order, without any markup."""

    kicker: str
    """What kind of page it is."""
    name: str
    """What it is about."""
    description: str
    """A sentence; may be empty."""
    synthetic_data: bool
    problems: tuple[str, ...]
    """What a reader must know before any number."""
    verdict: str
    """What came out, in one sentence."""
    facts: tuple[tuple[str, str], ...]
    """Name and value of what identifies it."""
    sections: tuple[Section, ...]
    source: str
    """Where the numbers are at full precision."""
    links: tuple[tuple[str, str], ...] = ()
    """Words and relative address of pages that belong to it."""

    def figures(self) -> list[Drawing]:
        """Every figure."""
        parts = [part for section in self.sections for part in section.parts]
        return [part.figure for part in parts if part.figure is not None]


def write_document(document: Document, folder: Path, stem: str, *, markdown: bool = True) -> Path:
    """Write a page into a folder, with Markdown beside it unless something else writes that.

    Args:
        document: What it says.
        folder: Exists.
        stem: Name of the files without their ending.
        markdown: Whether to write Markdown with its figures.

    Returns:
        The HTML file.

    Raises:
        SentinelError: if the folder cannot be written.
    """
    from sentinel_research.files import write_atomically
    from sentinel_research.reporting.render import render_html, render_markdown

    if markdown:
        for figure in document.figures():
            write_atomically(folder / figure.file_name, figure.svg)
        write_atomically(folder / f"{stem}.md", render_markdown(document))
    path = folder / f"{stem}.html"
    write_atomically(path, render_html(document))
    return path
