"""From a matplotlib figure to SVG that is deterministic, accessible and legible on any background.

Text stays text, so it can be read aloud, searched and copied. matplotlib's ids and its style rule
for all elements would collide in a page with several figures: ids get a prefix, the rule moves to
the root.
"""

import io
import re
import xml.etree.ElementTree as ET
from contextlib import AbstractContextManager
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

# readable on white and on near-black alike; a page has its own colour for each in light and dark
INK = "#777777"
MARK = "#a86f00"
_PAGE_COLOURS = {INK: "currentColor", MARK: "var(--mark)"}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font: ([\d.]+px) [^;]+")


class Drawing(NamedTuple):
    """One figure in its two forms, and its words."""

    file_name: str
    """File beside the report, for Markdown."""
    svg: str
    """A standalone SVG document, legible on light and on dark."""
    inline: str
    """The `<svg>` element for an HTML page; takes its ink from the page."""
    title: str
    """What is shown, in a few words."""
    description: str
    """The numbers shown."""


def drawing_style() -> AbstractContextManager[None]:
    """The settings under which figures are built and saved; restored on exit."""
    return mpl.rc_context(
        {
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": INK,
            "font.family": ["DejaVu Sans"],
            "font.size": 10,
            "grid.alpha": 0.25,
            "grid.color": INK,
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            "legend.labelcolor": INK,
            "svg.fonttype": "none",
            "svg.hashsalt": "sentinel_research",
            "text.color": INK,
            # labels are data: a dollar sign in a name is a dollar sign
            "text.parse_math": False,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


def printable(text: str) -> str:
    """`text` without characters that XML does not allow."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def marked(description: str, synthetic_data: bool) -> str:
    """The description of a figure, which says first if its data are synthetic."""
    return f"Synthetic data. {description}" if synthetic_data else description


def save(figure: Figure, name: str, title: str, description: str) -> Drawing:
    """Write a figure as SVG, within `drawing_style()`.

    Args:
        figure: Built with `matplotlib.figure.Figure`, not pyplot.
        name: File name without suffix; also the prefix of all ids.
        title: Accessible title.
        description: Accessible description.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    # our own output of a moment ago
    root = ET.fromstring(buffer.getvalue())  # noqa: S314
    _scope_style(root)
    _prefix_ids(root, name)
    _describe(root, name, printable(title), printable(description))
    svg = ET.tostring(root, encoding="unicode")
    for element in root.iter():
        style = element.get("style")
        if style is not None:
            style = style.replace("font-family: sans-serif", "font-family: inherit")
            for colour, of_page in _PAGE_COLOURS.items():
                style = style.replace(colour, of_page)
            element.set("style", style)
    for size in ("width", "height"):
        del root.attrib[size]
    inline = ET.tostring(root, encoding="unicode")
    return Drawing(f"{name}.svg", svg + "\n", inline, title, description)


def _scope_style(root: ET.Element) -> None:
    for definitions in root.findall(f"{{{_SVG}}}defs"):
        for rule in definitions.findall(f"{{{_SVG}}}style"):
            definitions.remove(rule)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    for element in root.iter():
        style = element.get("style")
        if style is not None:
            element.set("style", _FONT.sub(r"font-size: \1; font-family: sans-serif", style))


def _prefix_ids(root: ET.Element, prefix: str) -> None:
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key == f"{{{_XLINK}}}href":
                element.set(key, f"#{prefix}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))


def _describe(root: ET.Element, prefix: str, title: str, description: str) -> None:
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(place, element)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
