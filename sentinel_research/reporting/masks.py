"""A figure of what one pruning kept: a square for every head, layer by layer."""

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure

from sentinel_research.reporting.svg import (
    INK,
    MARK,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)

_KEPT = "#2a86c8"


def draw_mask(
    before: Sequence[Sequence[int]],
    kept: Sequence[Sequence[int]],
    name: str,
    synthetic_data: bool,
) -> Drawing:
    """Draw which heads a pruning kept.

    Args:
        before: By layer the heads that there were, by original index.
        kept: By layer those that are left.
        name: Of the pruning; also the beginning of the file's name.
        synthetic_data: Whether to mark the figure.
    """
    width = 1 + max((head for layer in before for head in layer), default=0)
    grid = np.full((len(before), width), np.nan)
    for index, (old, new) in enumerate(zip(before, kept, strict=True)):
        grid[index, list(old)] = 0.0
        grid[index, list(new)] = 1.0
    with drawing_style():
        size = (1.4 + 0.26 * width, 1.1 + 0.26 * len(before))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        colours = ListedColormap([to_rgba(INK, 0.25), to_rgba(_KEPT)])
        axes.pcolormesh(
            np.ma.masked_invalid(grid), cmap=colours, vmin=0, vmax=1, edgecolor=INK, linewidth=0.4
        )
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        axes.set_title(printable(name), loc="left", fontsize=9)
        if synthetic_data:
            figure.suptitle("synthetic data", fontsize=9, color=MARK)
        counts = [f"{len(new)} of {len(old)}" for old, new in zip(before, kept, strict=True)]
        words = f"Heads kept, layer by layer: {', '.join(counts)}"
        file = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        return save(figure, f"{file}_mask", f"Heads kept by {name}", marked(words, synthetic_data))
