"""What panels of recoveries share: their grid, the colour of each recovery, and the legend."""

import math
import re
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sentinel_research.reporting.figures import COLOURS, MARKERS
from sentinel_research.reporting.svg import MARK, printable

_WIDTH_INCHES = 8.0


def style_of(recovery: str, recoveries: list[str]) -> dict[str, Any]:
    """Colour and marker of a recovery, the same in all figures of a run.

    Args:
        recovery: One of them.
        recoveries: All names of the run, in their order.
    """
    place = recoveries.index(recovery)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def panels(
    titles: Iterable[str], columns: int, synthetic_data: bool, *, across: str
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each title, row by row, which share their axes.

    Args:
        titles: At least one.
        columns: Panels in a row.
        synthetic_data: Whether to mark the figure.
        across: Name of the horizontal axis, below the lowest panel of every column: a name of the
            whole figure would stand below its legend.
    """
    names = list(titles)
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(_WIDTH_INCHES, 1.3 + 2.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(printable(name), loc="left", fontsize=9)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    # the lowest panel of a column may not be in the last row
    for place in range(max(0, len(names) - columns), len(names)):
        grid.flat[place].tick_params(labelbottom=True)
        grid.flat[place].set_xlabel(across, fontsize=10)
    if synthetic_data:
        figure.suptitle("synthetic data", fontsize=9, color=MARK)
    return figure, list(grid.flat[: len(names)])


def add_legend(figure: Figure, drawn: list[Axes]) -> None:
    """Name every line once, below the panels."""
    named: dict[str, Any] = {}
    for axes in drawn:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    if named:
        columns = max(1, min(len(named), 96 // (max(map(len, named)) + 6)))
        figure.legend(named.values(), named.keys(), loc="outside lower left", ncols=columns)


def plain_name(*parts: str) -> str:
    """A name for a file (without suffix) or for an element of a figure."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", "_".join(parts))
