"""From pages to HTML and to Markdown. In both, text is escaped unless we made the markup.

An HTML page is one file: its style and its one script are in it, and its policy lets no other
script run and nothing be loaded.
"""

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from sentinel_research.reporting.document import Document
from sentinel_research.reporting.page import Page
from sentinel_research.reporting.swatches import swatch
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.visible import visible

MOST_ROWS = 400
"""Of a table in a page: more make it slow, and nobody reads them."""
MOST_PROBLEMS = 50
_SETTINGS: dict[str, Any] = {
    "loader": PackageLoader("sentinel_research.reporting", "templates"),
    "undefined": StrictUndefined,
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# an underscore within a word means nothing in Markdown, and names are full of them
_SPECIAL = re.compile(r"[\\`*|\[\]$~]|(?<!\w)_|_(?!\w)")
_LINE_START = re.compile(r"^(?:[#+-]|\d+[.)])(?=\s|#)")


class MarkdownText(str):
    """Markdown of our own making, printed as it is."""

    __slots__ = ()


def render_html(page: Page | Document) -> str:
    """A report as one HTML file.

    Args:
        page: What it says.
    """
    # the only markup from outside the templates; its text was escaped by the XML writer
    drawings = {figure.file_name: Markup(figure.inline) for figure in page.figures()}  # noqa: S704
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _html_template("report" if isinstance(page, Page) else "document").render(
        page=page,
        drawings=drawings,
        most_rows=MOST_ROWS,
        most_problems=MOST_PROBLEMS,
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{digest}",
    )


# reading a template takes as long as drawing a figure
@functools.cache
def _html_template(name: str) -> Template:
    environment = Environment(autoescape=True, finalize=_visible_value, **_SETTINGS)
    environment.filters["swatch"] = lambda arm: Markup(swatch(arm))  # noqa: S704
    return environment.get_template(f"{name}.html.j2")


@functools.cache
def _script() -> str:
    """What every page runs."""
    folder = resources.files("sentinel_research.reporting") / "templates"
    return (folder / "page.js").read_text(encoding="utf-8")


def _visible_value(value: Any) -> Any:
    return visible(value) if type(value) is str else value


def render_markdown(page: Page | Document) -> str:
    """A report in short form, for a terminal, a pull request or a model card.

    Args:
        page: What it says; the figures are links to the SVG files.
    """
    template = _markdown_template("report" if isinstance(page, Page) else "document")
    return re.sub(r"\n{3,}", "\n\n", template.render(page=page, most_problems=MOST_PROBLEMS))


@functools.cache
def _markdown_template(name: str) -> Template:
    # autoescape knows HTML only: here every expression passes through `_escape_value`
    environment = Environment(autoescape=False, finalize=_escape_value, **_SETTINGS)  # noqa: S701
    environment.filters["as_table"] = markdown_table
    environment.filters["as_code"] = _as_code
    # what a macro returns was escaped inside it
    environment.filters["as_markup"] = MarkdownText
    return environment.get_template(f"{name}.md.j2")


def escape_markdown(text: str) -> str:
    """Make text mean itself within one line of Markdown.

    Example:
        >>> escape_markdown("a|b <script>")
        'a\\\\|b &lt;script&gt;'
    """
    line = visible(" ".join(text.split()))
    line = "".join(_ENTITIES.get(letter, letter) for letter in line)
    line = _SPECIAL.sub(lambda found: f"\\{found[0]}", line)
    # the last sign of a heading or list mark is enough: `1\. not a list`
    return _LINE_START.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)


def _escape_value(value: Any) -> str:
    return value if isinstance(value, MarkdownText) else escape_markdown(str(value))


def markdown_table(table: Table) -> MarkdownText:
    """A table in Markdown, its text escaped; the first `MOST_ROWS` rows, and how many more."""
    shown = table.first(MOST_ROWS)
    lines = [
        [escape_markdown(header) for header in table.headers],
        ["---:" if right else "---" for right in table.numeric()],
        *([_in_markdown(cell) for cell in row] for row in shown.rows),
    ]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if len(shown.rows) < len(table.rows):
        text += (
            f"\n\nThe first {len(shown.rows)} of {len(table.rows):,} rows; "
            "all are in the JSON files."
        )
    return MarkdownText(text)


def _in_markdown(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return f"**{text}**" if cell.kind in ("bad", "missing") else text


def _as_code(text: str, language: str = "") -> MarkdownText:
    # the fence is longer than any run of backticks in the text
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return MarkdownText(f"{fence}{language}\n{visible(text.rstrip())}\n{fence}")
