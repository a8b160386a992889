"""What all plots share: values with intervals, the look of arms, and the mark of synthetic data."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sentinel_research.reporting.estimates import DENSE, RANDOM
from sentinel_research.reporting.figures import COLOURS, MARKERS
from sentinel_research.reporting.intervals import interval_parts
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.svg import INK, MARK, printable
from sentinel_research.reporting.tables import Cell

_DASHES = ("-", "--", "-.", ":")


class Spread(NamedTuple):
    """A value, and the interval that was found for it."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval around the value."""
        return self.low is not None and self.high is not None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"

    def cells(self) -> tuple[Cell, Cell, Cell]:
        """Value and both ends for a table."""
        value, *ends = (
            Cell("-", kind="number") if one is None else Cell(number(one), str(one), "number")
            for one in self
        )
        return value, ends[0], ends[1]


class Look(NamedTuple):
    """How an arm is drawn."""

    colour: str
    marker: str
    line: str


def look_of(arm: str, arms: Sequence[str]) -> Look:
    """The look of one of several arms; the dense model and random masks have the ink of the page.

    So every scorer has one colour in all figures of a report.

    Args:
        arm: One of them.
        arms: All of a figure, in their order.
    """
    if arm == DENSE:
        return Look(INK, "*", "")
    if arm == RANDOM:
        return Look(INK, "X", "-")
    place = [one for one in arms if one not in (DENSE, RANDOM)].index(arm)
    return Look(
        COLOURS[place % len(COLOURS)],
        MARKERS[place % len(MARKERS)],
        _DASHES[place // len(COLOURS) % len(_DASHES)],
    )


def draw_bars(
    axes: Axes, points: Iterable[tuple[float, Spread]], colour: str, name: str, *, is_across: bool
) -> tuple[str, ...]:
    """Draw the intervals of points, and give the ids of what was drawn.

    Args:
        axes: Where.
        points: Place on the other axis, and the value.
        colour: Of the arm.
        name: For the ids.
        is_across: Whether the values lie on the horizontal axis.
    """
    known = [(at, one) for at, one in points if one.has_interval]
    if not known:
        return ()
    values, places = [one.value for _, one in known], [at for at, _ in known]
    # a bootstrap's ends need not lie on both sides of the value
    low = [max(0.0, one.value - (one.low or 0.0)) for _, one in known]
    high = [max(0.0, (one.high or 0.0) - one.value) for _, one in known]
    style: dict[str, Any] = {"fmt": "none", "ecolor": colour, "capsize": 2.5, "elinewidth": 1}
    if is_across:
        drawn = axes.errorbar(values, places, xerr=[low, high], **style)
    else:
        drawn = axes.errorbar(places, values, yerr=[low, high], **style)
    parts = interval_parts(name)
    for artist, part in zip(drawn.get_children(), parts, strict=True):
        artist.set_gid(part)
    return parts


def new_canvas(width: float, height: float, title: str, synthetic_data: bool) -> Figure:
    """An empty figure of some inches with its title, which says if the data are synthetic."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if synthetic_data:
        figure.suptitle(f"{printable(title)} (synthetic data)", fontsize=10, color=MARK)
    else:
        figure.suptitle(printable(title), fontsize=10)
    return figure


def add_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """Name every arm once, below the panels."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        columns = max(1, min(len(named), 88 // (max(map(len, named)) + 6)))
        figure.legend([*named.values()], [*named], loc="outside lower left", ncols=columns)


def plain(*parts: object) -> str:
    """A name for a file (without suffix) or an element."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", "_".join(map(str, parts)))
