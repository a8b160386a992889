"""The figures of a report, drawn with matplotlib's object interface: no pyplot, no open figures."""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sentinel_research.reporting.curves import Curve, Frame, TaskCurves, choose_frame
from sentinel_research.reporting.estimates import Estimate
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.svg import INK, MARK, Drawing, drawing_style, printable, save

# Okabe and Ito's colours, those with contrast 3:1 on white and on near-black; two of them darkened
_COLOURS = ("#2a86c8", "#d55e00", "#009e73", "#c4649b", "#b07a00", "#7d6fd1")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_DASHES = ("-", "--", "-.", ":")
_SIZE_INCHES = (5.2, 3.9)
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
        figure, axes = _new_figure(curves.task, synthetic_data)
        _scale(axes, choose_frame(curves))
        apart = _step_apart(curves) if curves.curves else 0.0
        middle = (len(curves.curves) - 1) / 2
        for index, curve in enumerate(curves.curves):
            _draw_curve(axes, curve, curves.dense, index, (index - middle) * apart)
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
        _draw_legend(figure, axes)
        name = "figure_" + re.sub(r"[^A-Za-z0-9._-]", "_", curves.task)
        return save(figure, name, title, _marked(curves.in_words(), synthetic_data))


def draw_losses(losses: Sequence[dict[str, Any]], synthetic_data: bool) -> Drawing:
    """Draw the loss against the step of training.

    Args:
        losses: `{"step": int, "loss": nats per token}`, at least one.
        synthetic_data: Whether to mark the figure.
    """
    if not losses:
        raise ValueError("no loss was recorded: there is nothing to draw")
    steps = [entry["step"] for entry in losses]
    values = [entry["loss"] for entry in losses]
    with drawing_style():
        figure, axes = _new_figure("training", synthetic_data)
        axes.plot(steps, values, color=_COLOURS[0], linewidth=1.8, gid="loss")
        axes.set_xlabel("step")
        axes.set_ylabel("training loss (nats per token)")
        words = (
            f"loss {number(values[0])} at step {steps[0]}, {number(values[-1])} at step {steps[-1]}"
        )
        title = "Training loss against step"
        return save(figure, "training_loss", title, _marked(words, synthetic_data))


def _new_figure(title: str, synthetic_data: bool) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_title(printable(title), loc="left", fontsize=10, fontweight="bold")
    if synthetic_data:
        box = {"boxstyle": "round,pad=0.3", "facecolor": "none", "edgecolor": MARK}
        axes.set_title("synthetic data", loc="right", fontsize=9, color=MARK, bbox=box)
    return figure, axes


def _scale(axes: Axes, frame: Frame) -> None:
    if frame.is_log:
        # an interval that reaches zero leaves through the bottom
        axes.set_yscale("log", nonpositive="clip")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_ylim(frame.bottom, frame.top)


def _step_apart(curves: TaskCurves) -> float:
    """How far to set curves apart sideways, so that intervals at one fraction can be told apart."""
    shares = sorted({0.0, *(point.fraction for curve in curves.curves for point in curve.points)})
    gaps = [right - left for left, right in itertools.pairwise(shares)]
    return min(0.008 * shares[-1], 0.5 * min(gaps) / len(curves.curves))


def _draw_curve(axes: Axes, curve: Curve, dense: Estimate | None, index: int, aside: float) -> None:
    colour = _COLOURS[index % len(_COLOURS)]
    start = [] if dense is None else [(0.0, dense.value)]
    # a point that was not measured breaks the line: nothing is interpolated
    drawn = start + [
        (point.fraction + aside, point.estimate.value if point.estimate else math.nan)
        for point in curve.points
    ]
    axes.plot(
        [share for share, _ in drawn],
        [value for _, value in drawn],
        color=colour,
        linestyle=_DASHES[index // len(_COLOURS) % len(_DASHES)],
        linewidth=1.6,
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5.5,
        # the dense point belongs to all curves and is drawn once
        markevery=list(range(len(start), len(drawn))),
        label=printable(curve.scorer),
        gid=f"curve-{index}",
    )
    for point in curve.points:
        if point.estimate is not None:
            _draw_interval(axes, point.fraction + aside, point.estimate, colour)


def _draw_dense(axes: Axes, dense: Estimate) -> None:
    axes.plot([0.0], [dense.value], "*", color=INK, markersize=10, label="dense", gid="dense")
    _draw_interval(axes, 0.0, dense, INK)


def _draw_interval(axes: Axes, share: float, found: Estimate, colour: str) -> None:
    if found.interval is not None:
        value, low, high = found.interval
        errors = [[value - low], [high - value]]
        axes.errorbar([share], [value], errors, fmt="none", ecolor=colour, capsize=3, elinewidth=1)


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


def _draw_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(len(label) for label in labels) + 6
        columns = min(len(labels), max(1, _LEGEND_LETTERS // longest))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")


def _marked(description: str, synthetic_data: bool) -> str:
    return f"Synthetic data. {description}" if synthetic_data else description
