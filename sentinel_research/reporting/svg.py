"""From a matplotlib figure to SVG that is deterministic, accessible and legible on any background.

Text stays text, so it can be read aloud, searched and copied. matplotlib's ids and its style rule
for all elements would collide in a page with several figures: ids get a prefix, the rule moves to
the root.

In a page every mark that was given words says them, and what belongs to one of several arms can be
hidden. The legend is then the page's, of readable size on any screen.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from sentinel_research.reporting.tables import Table

# readable on white and on near-black alike; a page has its own colour for each in light and dark
INK = "#777777"
MARK = "#a86f00"
PAGE_COLOURS = {INK: "currentColor", MARK: "var(--mark)"}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font: ([\d.]+px) [^;]+")


class Arm(NamedTuple):
    """One of several things in a figure, as its legend shows it."""

    name: str
    colour: str
    """As the artists have it."""
    marker: str
    """matplotlib's letter; empty for none."""
    line: str
    """matplotlib's line style; empty for none."""
    parts: tuple[str, ...]
    """Ids (`gid`) of its artists."""


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
    arms: tuple[Arm, ...] = ()
    """What the page's legend has, in place of the figure's."""
    data: Table | None = None
    """What is drawn, in numbers; null where a table beside the figure has it."""


def drawing_style() -> AbstractContextManager[None]:
    """The settings under which figures are built and saved; restored on exit."""
    return mpl.rc_context(
        {
            "axes.edgecolor": INK,
            # a tick says its own number, and not what to add to another
            "axes.formatter.useoffset": False,
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


def save(
    figure: Figure,
    name: str,
    title: str,
    description: str,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    arms: Sequence[Arm] = (),
    data: Table | None = None,
) -> Drawing:
    """Write a figure as SVG, within `drawing_style()`.

    Args:
        figure: Built with `matplotlib.figure.Figure`, not pyplot.
        name: File name without suffix; also the prefix of all ids.
        title: Accessible title.
        description: Accessible description.
        labels: Id of an artist -> what each of its marks says, in the order in which they are
            drawn: the markers of a line, the squares of a mesh, or the one path of a patch.
        arms: What a reader may hide; at least two, else there is nothing to choose.
        data: What is drawn, unless a table beside the figure has it.

    Raises:
        ValueError: if an artist has other marks than it was given words for.
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
            for colour, of_page in PAGE_COLOURS.items():
                style = style.replace(colour, of_page)
            element.set("style", style)
    shown = tuple(arms) if len(arms) > 1 else ()
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    for artist, texts in (labels or {}).items():
        _label(by_id[f"{name}-{artist}"], texts)
    for index, arm in enumerate(shown):
        for part in arm.parts:
            by_id[f"{name}-{part}"].set("data-arm", str(index))
    if shown:
        _leave_out_legend(root, by_id.get(f"{name}-legend_1"), figure)
    _fit(root)
    inline = ET.tostring(root, encoding="unicode")
    return Drawing(f"{name}.svg", svg + "\n", inline, title, description, shown, data)


def _label(element: ET.Element, texts: Sequence[str]) -> None:
    """Let every mark of an artist say its words; a line without any marker has none."""
    marks = list(_marks(element)) if texts else []
    if len(marks) != len(texts):
        raise ValueError(
            f"{element.get('id')} has {len(marks)} marks and words for {len(texts)} of them"
        )
    for mark, text in zip(marks, texts, strict=True):
        mark.set("class", "mark")
        words = ET.SubElement(mark, f"{{{_SVG}}}title")
        words.text = printable(text)


def _marks(element: ET.Element) -> Iterator[ET.Element]:
    """What matplotlib drew a value with: markers, else paths that are no definitions."""
    markers = list(element.iter(f"{{{_SVG}}}use"))
    if markers:
        yield from markers
        return
    for child in element:
        if child.tag == f"{{{_SVG}}}path":
            yield child
        elif child.tag == f"{{{_SVG}}}g":
            yield from _marks(child)


def _leave_out_legend(root: ET.Element, legend: ET.Element | None, figure: Figure) -> None:
    """Cut a figure above or beside the legend that stands below or on the right of it."""
    if legend is None or not figure.legends:
        return
    for parent in root.iter():
        if legend in list(parent):
            parent.remove(legend)
            break
    box: Any = figure.legends[0].get_window_extent().transformed(figure.transFigure.inverted())
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    # one below the panels never reaches the top
    if box.y1 > 0.9:
        width *= box.x0
    else:
        height *= 1 - box.y1
    root.set("viewBox", f"0 0 {width:.2f} {height:.2f}")


def _fit(root: ET.Element) -> None:
    """Let the page set the size, but not so small that nobody can read the text."""
    width = float(root.attrib["viewBox"].split()[2])
    for size in ("width", "height"):
        del root.attrib[size]
    style = (
        f"{root.get('style', '')}; max-width: {width * 1.45:.0f}px; min-width: {width * 0.8:.0f}px"
    )
    root.set("style", style)


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
