"""Two figures: how criteria agree with each other, and which units each of them holds important."""

import math
from statistics import fmean

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from sentinel_research.reporting.criteria.agreement import Correlations
from sentinel_research.reporting.criteria.scores import Scores
from sentinel_research.reporting.numbers import coefficient
from sentinel_research.reporting.svg import (
    INK,
    MARK,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)
from sentinel_research.reporting.tables import Cell, Table

_LEVELS = 21
_MAX_UNITS_PER_LAYER = 64
# squares that say their values: ten of them take more room than their figure
_MOST_SAYING = 8_000
MOST_SQUARES = 25_000
"""Of all panels together."""
_PANELS_PER_ROW = 4
# where black and white can be read alike: both have a contrast of 4.6 to it
_MIDDLE_LUMINANCE = 0.179


def draw_correlations(found: Correlations, synthetic_data: bool) -> Drawing:
    """Draw Spearman's rho between all criteria, as colours and as numbers.

    Args:
        found: At least two criteria.
        synthetic_data: Whether to mark the figure.
    """
    names = [printable(scorer) for scorer in found.scorers]
    values = np.array(found.spearman, dtype=np.float64)
    size = 1.8 + 0.42 * len(names)
    title = "Rank correlation between criteria"
    with drawing_style():
        figure = _figure(size + 0.8, size, synthetic_data)
        axes = figure.add_subplot()
        drawn = _colour(axes, values, _colours("RdBu"), -1.0, 1.0)
        drawn.set_gid("rho")
        _write_numbers(axes, values, _colours("RdBu"))
        axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90)
        axes.set_yticks(np.arange(len(names)) + 0.5, names)
        axes.set_aspect("equal")
        axes.set_title("Spearman's rho, mean over draws", loc="left", fontsize=10)
        figure.colorbar(drawn, ax=axes, shrink=0.6)
        return save(
            figure,
            "criteria_correlations",
            title,
            marked(_in_words(found), synthetic_data),
            labels={"rho": _pairs(found)},
        )


def draw_importance(scores: dict[str, list[Scores]], synthetic_data: bool) -> Drawing | None:
    """Draw the rank that every criterion gives every unit, layer by layer.

    Args:
        scores: Scorer -> its draws, at least one scorer.
        synthetic_data: Whether to mark the figure.

    Returns:
        The figure; None if there are too many units to be seen, or units are of several kinds.
    """
    grids = {scorer: rank_grid(draws) for scorer, draws in scores.items()}
    known = {scorer: grid for scorer, grid in grids.items() if grid is not None}
    if not known or num_squares(scores) > MOST_SQUARES:
        return None
    num_rows = math.ceil(len(known) / _PANELS_PER_ROW)
    kind = next(iter(next(iter(scores.values()))[0].importance)).kind
    labels = {}
    title = f"Importance of every {kind.replace('_', ' ')}, by criterion"
    with drawing_style():
        figure = _figure(8.0, 0.5 + 1.9 * num_rows, synthetic_data)
        panels = figure.subplots(num_rows, _PANELS_PER_ROW, squeeze=False)
        for axes in panels.flat[len(known) :]:
            axes.set_axis_off()
        for index, (scorer, grid) in enumerate(known.items()):
            axes = panels.flat[index]
            drawn = _colour(axes, grid, _colours("viridis"), 0.0, 1.0)
            drawn.set_gid(f"importance-{index}")
            if num_squares(scores) <= _MOST_SAYING:
                labels[f"importance-{index}"] = _squares(scorer, kind, grid, scores[scorer])
            axes.set_title(printable(scorer), fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([0.5, len(grid) - 0.5], ["0", str(len(grid) - 1)], fontsize=8)
        for axes in panels[:, 0]:
            axes.set_ylabel("layer", fontsize=9)
        figure.supxlabel(kind.replace("_", " "), fontsize=9)
        bar = figure.colorbar(drawn, ax=panels, shrink=0.5, aspect=30)
        bar.set_label("rank among all units, 1 is most important")
        words = marked(f"Criteria: {', '.join(known)}", synthetic_data)
        data = _table(kind, known, scores)
        return save(figure, "criteria_importance", title, words, labels=labels, data=data)


def num_squares(scores: dict[str, list[Scores]]) -> int:
    """Units that all panels of the importance show together."""
    return sum(len(draws[0].flat()) for draws in scores.values())


def _squares(scorer: str, kind: str, grid: NDArray[np.float64], draws: list[Scores]) -> list[str]:
    """What every square of a panel says."""
    means = _mean_scores(draws, grid.shape)
    over = f", mean of {len(draws)} draws" if len(draws) > 1 else ""
    return [
        f"{_unit(kind, layer, unit)} by {scorer}: "
        + (
            f"there is no such {kind.replace('_', ' ')}"
            if math.isnan(rank)
            else f"rank {coefficient(rank)}, score {means[layer, unit]:.4g}{over}"
        )
        for (layer, unit), rank in np.ndenumerate(grid)
    ]


def _unit(kind: str, layer: int, unit: int) -> str:
    return f"L{layer}H{unit}" if kind == "head" else f"layer {layer}, {kind} {unit}"


def _mean_scores(draws: list[Scores], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Scores of every unit, mean over draws, `[layer, unit]`; NaN where there is no unit."""
    grid = np.full(shape, np.nan)
    for stratum, values in draws[0].importance.items():
        each = zip(*(draw.importance[stratum] for draw in draws), strict=True)
        grid[stratum.layer, : len(values)] = [fmean(one) for one in each]
    return grid


def _table(
    kind: str, grids: dict[str, NDArray[np.float64]], scores: dict[str, list[Scores]]
) -> Table:
    """A row per unit, the rank by every criterion with its score as the full value."""
    means = {scorer: _mean_scores(scores[scorer], grid.shape) for scorer, grid in grids.items()}
    units = dict.fromkeys(
        place
        for grid in grids.values()
        for place, rank in np.ndenumerate(grid)
        if not math.isnan(rank)
    )
    rows = []
    for layer, unit in sorted(units):
        cells = [Cell(_unit(kind, layer, unit))]
        for scorer, grid in grids.items():
            is_there = layer < grid.shape[0] and unit < grid.shape[1]
            rank = float(grid[layer, unit]) if is_there else math.nan
            known = not math.isnan(rank)
            title = f"score {means[scorer][layer, unit]}" if known else ""
            cells.append(Cell(coefficient(rank) if known else "-", title, "number"))
        rows.append(tuple(cells))
    return Table((kind.replace("_", " "), *grids), tuple(rows))


def rank_grid(draws: list[Scores]) -> NDArray[np.float64] | None:
    """Rank of every unit of the model in [0, 1], mean over draws, `[layer, unit]`.

    Args:
        draws: Draws of one criterion; all of the shape of the first.

    Returns:
        The ranks, NaN where a layer has fewer units; None for several kinds of unit, for a single
        unit, and for layers too wide to be seen.
    """
    shape = draws[0].shape()
    widest = max(shape.values())
    num_units = sum(shape.values())
    if len({stratum.kind for stratum in shape}) > 1 or widest > _MAX_UNITS_PER_LAYER:
        return None
    if num_units < 2:
        return None
    ranks = [(stats.rankdata(draw.flat()) - 1) / (num_units - 1) for draw in draws]
    mean = np.array([fmean(values) for values in zip(*ranks, strict=True)])
    grid = np.full((max(stratum.layer for stratum in shape) + 1, widest), np.nan)
    start = 0
    for stratum in sorted(shape):
        grid[stratum.layer, : shape[stratum]] = mean[start : start + shape[stratum]]
        start += shape[stratum]
    return grid


def _figure(width: float, height: float, synthetic_data: bool) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if synthetic_data:
        figure.suptitle("synthetic data", fontsize=9, color=MARK)
    return figure


def _colours(name: str) -> Colormap:
    return mpl.colormaps[name].resampled(_LEVELS).with_extremes(bad=to_rgba(INK, 0.15))


def _colour(
    axes: Axes, values: NDArray[np.float64], colours: Colormap, low: float, high: float
) -> QuadMesh:
    drawn = axes.pcolormesh(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawn


def ink_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever can be read on a colour (WCAG 2, relative luminance)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > _MIDDLE_LUMINANCE else "#ffffff"


def _write_numbers(axes: Axes, values: NDArray[np.float64], colours: Colormap) -> None:
    for (row, column), value in np.ndenumerate(values):
        is_known = not math.isnan(value)
        colour = ink_on(colours((value + 1) / 2)) if is_known else INK
        text = coefficient(value) if is_known else "-"
        axes.text(
            column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7.5, color=colour
        )


def _pairs(found: Correlations) -> list[str]:
    """What every square says."""
    return [
        f"{one} with {'itself, other draws' if one == other else other}: "
        + ("no number" if value is None else f"rho {coefficient(value)}")
        for one, values in zip(found.scorers, found.spearman, strict=True)
        for other, value in zip(found.scorers, values, strict=True)
    ]


def _in_words(found: Correlations) -> str:
    lines = []
    for row, one in enumerate(found.scorers):
        for column in range(row):
            value = found.spearman[row][column]
            if value is not None:
                lines.append(f"{one} with {found.scorers[column]}: {coefficient(value)}")
    return "; ".join(lines)
