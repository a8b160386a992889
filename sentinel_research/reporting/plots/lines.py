"""Values over a common axis, line by line, in one panel or several side by side."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from sentinel_research.reporting.estimates import DENSE
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.plots.values import (
    Spread,
    add_legend,
    draw_bars,
    look_of,
    new_canvas,
    plain,
)
from sentinel_research.reporting.svg import (
    INK,
    Arm,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)
from sentinel_research.reporting.tables import Cell, Table

_PANEL_INCHES = (3.6, 2.7)
_ALONE_INCHES = (5.6, 3.4)
_APART = 0.008
_MOST_MARKERS = 40
_FEW_POINTS = 12


class Line(NamedTuple):
    """The values of one arm, along the axis."""

    arm: str
    points: tuple[tuple[float, Spread], ...]
    """Place on the axis, and what was measured there."""


class Panel(NamedTuple):
    """One quantity."""

    title: str
    """What is shown, with its unit and its direction."""
    lines: tuple[Line, ...]
    start: Spread | None = None
    """The dense model's at 0, where all lines begin; null without one."""
    reference: tuple[float, str] | None = None
    """A level with its name."""


def draw_lines(
    panels: Sequence[Panel],
    *,
    name: str,
    title: str,
    across: str,
    synthetic_data: bool,
    is_log: bool = False,
) -> Drawing:
    """Draw panels that share their horizontal axis.

    Args:
        panels: Those without any value are left out.
        name: Of the file, without suffix.
        title: What is shown.
        across: Name of the horizontal axis.
        synthetic_data: Whether to mark the figure.
        is_log: Whether that axis is logarithmic.

    Raises:
        ValueError: if there is no value at all.
    """
    known = [panel for panel in panels if any(line.points for line in panel.lines)]
    if not known:
        raise ValueError(f"{title}: nothing was measured: there is nothing to draw")
    arms = _names(known)
    columns = min(3, len(known))
    rows = -(-len(known) // columns)
    width, height = _ALONE_INCHES if len(known) == 1 else _PANEL_INCHES
    parts: dict[str, list[str]] = {arm: [] for arm in arms}
    labels: dict[str, list[str]] = {}
    with drawing_style():
        figure = new_canvas(width * columns, height * rows + 0.6, title, synthetic_data)
        drawn = [figure.add_subplot(rows, columns, place + 1) for place in range(len(known))]
        for place, (axes, panel) in enumerate(zip(drawn, known, strict=True)):
            if is_log:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
            _draw_panel(axes, panel, arms, place, parts, labels, across)
            axes.set_xlabel(across, fontsize=9)
        add_legend(figure, drawn)
        words = marked("; ".join(_in_words(panel) for panel in known), synthetic_data)
        chosen = [Arm(arm, *look_of(arm, arms), tuple(parts[arm])) for arm in arms]
        data = _table(known, across)
        return save(figure, plain(name), title, words, labels=labels, arms=chosen, data=data)


def _names(panels: Sequence[Panel]) -> list[str]:
    found = [line.arm for panel in panels for line in panel.lines if line.points]
    found += [DENSE] if any(panel.start is not None for panel in panels) else []
    return list(dict.fromkeys(found))


def _draw_panel(
    axes: Axes,
    panel: Panel,
    arms: list[str],
    place: int,
    parts: dict[str, list[str]],
    labels: dict[str, list[str]],
    across: str,
) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_title(printable(panel.title), loc="left", fontsize=9)
    lines = [line for line in panel.lines if line.points]
    places = [at for line in lines for at, _ in line.points]
    apart = 0.0 if axes.get_xscale() == "log" else _APART * (max(places) - min(0.0, *places))
    start = [] if panel.start is None else [(0.0, panel.start)]
    for index, line in enumerate(lines):
        aside = (index - (len(lines) - 1) / 2) * apart
        look = look_of(line.arm, arms)
        # many points make a line of their own, and need not be told apart
        points = [
            (at + (aside if len(line.points) <= _FEW_POINTS else 0.0), one)
            for at, one in line.points
        ]
        shown = [*start, *points]
        gid = f"line-{place}-{arms.index(line.arm)}"
        has_markers = len(points) <= _MOST_MARKERS
        axes.plot(
            [at for at, _ in shown],
            [one.value for _, one in shown],
            color=look.colour,
            linestyle=look.line or "-",
            linewidth=1.5,
            marker=look.marker if has_markers else "",
            markersize=4.5,
            markevery=list(range(len(start), len(shown))),
            label=printable(line.arm),
            gid=gid,
        )
        if has_markers:
            labels[gid] = [f"{line.arm}, {across} {at:g}: {one}" for at, one in line.points]
        bars = draw_bars(axes, points, look.colour, gid, is_across=False)
        parts[line.arm] += [gid, *bars]
    if panel.start is not None:
        gid = f"dense-{place}"
        axes.plot([0.0], [panel.start.value], "*", color=INK, markersize=9, label=DENSE, gid=gid)
        bars = draw_bars(axes, start, INK, gid, is_across=False)
        labels[gid] = [f"dense model: {panel.start}"]
        parts[DENSE] += [gid, *bars]
    if panel.reference is not None:
        level, called = panel.reference
        axes.axhline(level, color=INK, linestyle=(0, (4, 3)), linewidth=1)
        if called:
            axes.annotate(
                printable(called),
                (1.0, level),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )


def _in_words(panel: Panel) -> str:
    lines = [] if panel.start is None else [f"dense model {number(panel.start.value)}"]
    for line in panel.lines:
        values = [one.value for _, one in line.points]
        if values and not math.isnan(values[-1]):
            last = f" to {number(values[-1])}" if len(values) > 1 else ""
            lines.append(f"{line.arm} {number(values[0])}{last}")
    return f"{panel.title}: {', '.join(lines)}"


def _table(panels: Sequence[Panel], across: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for panel in panels:
        if panel.start is not None:
            at = Cell("0", kind="number")
            rows.append((Cell(panel.title), Cell(DENSE), at, *panel.start.cells()))
        rows += [
            (Cell(panel.title), Cell(line.arm), Cell(f"{at:g}", kind="number"), *one.cells())
            for line in panel.lines
            for at, one in line.points
        ]
    return Table(("quantity", "arm", across, "value", "low", "high"), tuple(rows))
