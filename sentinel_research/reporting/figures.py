"""The figures of a report, drawn with matplotlib's object interface: no pyplot, no open figures."""

import itertools
import math
import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sentinel_research.reporting.curves import Curve, Frame, TaskCurves, choose_frame
from sentinel_research.reporting.estimates import DENSE, Estimate
from sentinel_research.reporting.intervals import (
    draw_intervals,
    has_interval,
    in_full,
    interval_parts,
)
from sentinel_research.reporting.numbers import fraction, number
from sentinel_research.reporting.svg import (
    INK,
    MARK,
    Arm,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)

# Okabe and Ito's colours, those with contrast 3:1 on white and on near-black; two of them darkened
COLOURS = ("#2a86c8", "#d55e00", "#009e73", "#c4649b", "#b07a00", "#7d6fd1")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_DASHES = ("-", "--", "-.", ":")
_SIZE_INCHES = (5.6, 4.3)
_WIDE_INCHES = (8.0, 5.2)
_BAND: dict[str, Any] = {"color": INK, "linestyle": "-", "linewidth": 2.6, "marker": "_"}
_LEGEND_LETTERS = 48


def draw_curves(curves: TaskCurves, synthetic_data: bool) -> Drawing:
    """Draw a metric against the fraction pruned.

    Args:
        curves: At least one estimate in them.
        synthetic_data: Whether to mark the figure.

    Raises:
        ValueError: if nothing was measured: an empty plot is refused.
    """
    if not curves.estimates():
        raise ValueError(f"nothing was measured on {curves.task}: there is nothing to draw")
    label = _in_words(curves.metric.label)
    title = f"{label[0].upper()}{label[1:]} against fraction pruned on {curves.task}"
    with drawing_style():
        figure, axes = new_figure(curves.task, synthetic_data, is_crowded(curves))
        scale_values(axes, choose_frame(curves))
        _draw_all(axes, curves)
        if curves.dense is not None:
            _draw_dense(axes, curves.dense)
        if curves.floor is not None:
            _draw_floor(axes, curves.floor)
        better = {True: " (higher is better)", False: " (lower is better)", None: ""}
        axes.set_xlabel("fraction pruned")
        axes.set_ylabel(printable(label) + better[curves.higher_is_better])
        shares = {point.fraction for curve in curves.curves for point in curve.points}
        ticks = sorted(shares | ({0.0} if curves.dense is not None else set()))
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        if is_crowded(curves):
            _draw_ordered_legend(figure, axes, curves)
        else:
            draw_legend(figure, axes)
        return save(
            figure,
            "figure_" + re.sub(r"[^A-Za-z0-9._-]", "_", curves.task),
            title,
            marked(curves.in_words(), synthetic_data),
            labels=_labels(curves),
            arms=_arms(curves),
        )


def is_crowded(curves: TaskCurves) -> bool:
    """Whether there are more curves than colours, so that they can hardly be told apart."""
    return len(curves.curves) > len(COLOURS)


def new_figure(title: str, synthetic_data: bool, is_wide: bool) -> tuple[Figure, Axes]:
    """A figure with one panel, its title on the left, and the mark of synthetic data.

    Args:
        title: Above the panel.
        synthetic_data: Whether to mark the figure.
        is_wide: Whether it needs more room than a column of text has.
    """
    figure = Figure(figsize=_WIDE_INCHES if is_wide else _SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_title(printable(title), loc="left", fontsize=10, fontweight="bold")
    if synthetic_data:
        box = {"boxstyle": "round,pad=0.3", "facecolor": "none", "edgecolor": MARK}
        axes.set_title("synthetic data", loc="right", fontsize=9, color=MARK, bbox=box)
    return figure, axes


def scale_values(axes: Axes, frame: Frame) -> None:
    """Give the vertical axis the limits and the scale of a frame."""
    if frame.is_log:
        use_plain_log(axes)
    axes.set_ylim(frame.bottom, frame.top)


def use_plain_log(axes: Axes) -> None:
    """A logarithmic vertical axis whose numbers are written out."""
    # an interval that reaches zero leaves through the bottom
    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _step_apart(curves: TaskCurves) -> float:
    """How far to set curves apart sideways, so that intervals at one fraction can be told apart."""
    shares = sorted({0.0, *(point.fraction for curve in curves.curves for point in curve.points)})
    gaps = [right - left for left, right in itertools.pairwise(shares)]
    return min(0.008 * shares[-1], 0.5 * min(gaps) / len(curves.curves))


def _draw_all(axes: Axes, curves: TaskCurves) -> None:
    if not curves.curves:
        return
    apart = _step_apart(curves)
    beside = [curve for curve in curves.curves if not curve.is_of_masks]
    middle = (len(beside) - 1) / 2
    for index, curve in enumerate(curves.curves):
        if curve.is_of_masks:
            _draw_band(axes, curve, curves.dense, index)
            continue
        place = beside.index(curve)
        line = _style(curves, curve)
        aside = (place - middle) * apart
        _draw_line(axes, curve, curves.dense, index, line, aside)
        known = [(point.fraction + aside, point.estimate) for point in curve.points]
        draw_intervals(axes, known, str(line["color"]), str(index))


def _style(curves: TaskCurves, curve: Curve) -> dict[str, Any]:
    """How a curve is drawn: random masks as a grey band, others by their place among the rest."""
    if curve.is_of_masks:
        return _BAND
    place = [one for one in curves.curves if not one.is_of_masks].index(curve)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": _DASHES[place // len(COLOURS) % len(_DASHES)],
        "linewidth": 1.6,
        "marker": MARKERS[place % len(MARKERS)],
    }


def _arms(curves: TaskCurves) -> list[Arm]:
    """Every curve with all that is drawn of it, and the dense model."""
    found = []
    for index, curve in enumerate(curves.curves):
        style = _style(curves, curve)
        parts: tuple[str, ...] = (f"curve-{index}",)
        parts += (f"band-{index}",) if curve.is_of_masks else ()
        if not curve.is_of_masks and any(has_interval(point.estimate) for point in curve.points):
            parts += interval_parts(str(index))
        found.append(Arm(curve.scorer, style["color"], style["marker"], style["linestyle"], parts))
    if curves.dense is not None:
        parts = ("dense", *(interval_parts("dense") if has_interval(curves.dense) else ()))
        found.append(Arm(DENSE, INK, "*", "", parts))
    return found


def _labels(curves: TaskCurves) -> dict[str, list[str]]:
    """What every marker says."""
    name = _in_words(curves.metric.label)
    found = {
        f"curve-{index}": [
            f"{curve.scorer}, {fraction(point.fraction)} pruned: {name} {in_full(point.estimate)}"
            for point in curve.points
            if point.estimate is not None
        ]
        for index, curve in enumerate(curves.curves)
    }
    if curves.dense is not None:
        found[DENSE] = [f"dense model: {name} {in_full(curves.dense)}"]
    return found


def _draw_band(axes: Axes, curve: Curve, dense: Estimate | None, index: int) -> None:
    """The range of the masks as a band, their median as a line; broken where nothing is known."""
    edges = [] if dense is None else [(0.0, dense.value, dense.value)]
    for point in curve.points:
        interval = point.estimate.interval if point.estimate else None
        low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
        edges.append((point.fraction, low, high))
    shares, lows, highs = zip(*edges, strict=True)
    axes.fill_between(shares, lows, highs, color=INK, alpha=0.2, linewidth=0, gid=f"band-{index}")
    _draw_line(axes, curve, dense, index, _BAND, 0.0)


def _draw_line(
    axes: Axes,
    curve: Curve,
    dense: Estimate | None,
    index: int,
    line: dict[str, Any],
    aside: float,
) -> None:
    start = [] if dense is None else [(0.0, dense.value)]
    # a point that was not measured breaks the line: nothing is interpolated
    drawn = start + [
        (point.fraction + aside, point.estimate.value if point.estimate else math.nan)
        for point in curve.points
    ]
    axes.plot(
        [share for share, _ in drawn],
        [value for _, value in drawn],
        **line,
        markersize=5.5,
        # the dense point belongs to all curves and is drawn once
        markevery=list(range(len(start), len(drawn))),
        label=printable(curve.scorer),
        gid=f"curve-{index}",
    )


def _draw_dense(axes: Axes, dense: Estimate) -> None:
    axes.plot([0.0], [dense.value], "*", color=INK, markersize=10, label="dense", gid="dense")
    draw_intervals(axes, [(0.0, dense)], INK, DENSE)


def _draw_floor(axes: Axes, floor: float) -> None:
    axes.axhline(floor, color=INK, linestyle=(0, (4, 3)), linewidth=1.2, gid="floor")
    axes.annotate(
        f"entropy floor {number(floor)}",
        (1.0, floor),
        xycoords=("axes fraction", "data"),
        # nothing is expected below the floor
        xytext=(0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
    )


def draw_legend(figure: Figure, axes: Axes) -> None:
    """Name what is drawn below the panel."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(len(label) for label in labels) + 6
        columns = min(len(labels), max(1, _LEGEND_LETTERS // longest))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def _draw_ordered_legend(figure: Figure, axes: Axes, curves: TaskCurves) -> None:
    """Name the curves beside the figure, from top to bottom as they end."""
    values = {printable(curve.scorer): curve.last_value() for curve in curves.curves}
    ends = {label: value for label, value in values.items() if value is not None}
    named = list(zip(*axes.get_legend_handles_labels(), strict=True))
    # the dense model, which starts them all, comes last
    named.sort(key=lambda pair: ends.get(pair[1], -math.inf), reverse=True)
    handles, labels = zip(*named, strict=True)
    figure.legend(handles, labels, loc="outside right upper", handlelength=3.2)


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")
