"""A metric of many criteria, side by side: one panel per fraction, one line per criterion.

Curves of a dozen criteria lie on each other; here every value and interval has a line of its own,
and every random mask is seen.
"""

import re

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sentinel_research.reporting.curves import Curve, TaskCurves, choose_frame
from sentinel_research.reporting.estimates import Estimate
from sentinel_research.reporting.intervals import in_full
from sentinel_research.reporting.numbers import fraction
from sentinel_research.reporting.svg import (
    INK,
    MARK,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)

_COLOUR = "#2a86c8"
_WIDTH_INCHES = 8.0
MOST_PANELS = 8
"""Side by side: more leave no room for their numbers."""


def draw_panels(curves: TaskCurves, synthetic_data: bool) -> Drawing:
    """Draw every criterion at every fraction, the worst at the largest fraction on top.

    Args:
        curves: At least one point that was measured.
        synthetic_data: Whether to mark the figure.
    """
    shares = sorted({point.fraction for curve in curves.curves for point in curve.points})
    # higher is worse for a perplexity, and where nobody says
    sign = -1 if curves.higher_is_better else 1
    known = [curve for curve in curves.curves if curve.last_value() is not None]
    ordered = sorted(known, key=lambda curve: sign * (curve.last_value() or 0.0))
    label = curves.metric.label.replace("_", " ")
    title = f"{label[0].upper()}{label[1:]} of every criterion by fraction on {curves.task}"
    with drawing_style():
        figure = Figure(figsize=(_WIDTH_INCHES, 1.3 + 0.26 * len(ordered)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
        for axes, share in zip(panels, shares, strict=True):
            _draw_panel(axes, curves, ordered, share)
        panels[0].set_yticks(range(len(ordered)), [printable(one.scorer) for one in ordered])
        figure.supxlabel(printable(label), fontsize=10)
        if synthetic_data:
            figure.suptitle("synthetic data", fontsize=9, color=MARK)
        name = "panels_" + re.sub(r"[^A-Za-z0-9._-]", "_", curves.task)
        words = marked(curves.in_words(), synthetic_data)
        return save(figure, name, title, words, labels=_labels(ordered))


def _draw_panel(axes: Axes, curves: TaskCurves, ordered: list[Curve], share: float) -> None:
    axes.set_title(f"fraction {fraction(share)}", loc="left", fontsize=10)
    axes.grid(axis="both")
    axes.set_axisbelow(True)
    _scale(axes, curves, share)
    axes.tick_params(axis="y", length=0)
    for place, curve in enumerate(ordered):
        for point in curve.points:
            if point.fraction == share and point.estimate is not None:
                _draw_estimate(axes, point.estimate, place, _name(share, place))


def _name(share: float, place: int) -> str:
    return f"{fraction(share)}-{place}"


def _labels(ordered: list[Curve]) -> dict[str, list[str]]:
    """What every point says."""
    return {
        f"value-{_name(point.fraction, place)}": [
            f"{curve.scorer}, {fraction(point.fraction)} pruned: {in_full(point.estimate)}"
        ]
        for place, curve in enumerate(ordered)
        for point in curve.points
        if point.estimate is not None
    }


def _scale(axes: Axes, curves: TaskCurves, share: float) -> None:
    only = [
        curve._replace(points=tuple(one for one in curve.points if one.fraction == share))
        for curve in curves.curves
    ]
    here = curves._replace(dense=None, floor=None, curves=tuple(only))
    if not here.estimates():
        return
    frame = choose_frame(here)
    if frame.is_log:
        axes.set_xscale("log", nonpositive="clip")
        ratio = frame.top / frame.bottom
        marks = (1.0,) if ratio > 100 else (1.0, 3.0) if ratio > 20 else (1.0, 2.0, 5.0)
        axes.xaxis.set_major_locator(LogLocator(subs=marks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(frame.bottom, frame.top)


def _draw_estimate(axes: Axes, found: Estimate, place: int, name: str) -> None:
    is_of_masks = found.over == "masks"
    if is_of_masks:
        low, high = min(found.values), max(found.values)
        axes.axvspan(low, high, color=INK, alpha=0.12, linewidth=0)
        axes.plot(
            found.values,
            [place] * found.num_cells,
            "|",
            color=INK,
            markersize=7,
            gid=f"masks-{name}",
        )
    elif found.interval is not None:
        line = "-" if found.over == "calibration" else ":"
        axes.plot(found.interval[1:], [place] * 2, line, color=_COLOUR, linewidth=1.4)
    marker = "D" if is_of_masks else "o"
    colour = INK if is_of_masks else _COLOUR
    axes.plot([found.value], [place], marker, color=colour, markersize=5, gid=f"value-{name}")
