"""A value a row, with its interval, beside a reference that all of them are measured against."""

from collections.abc import Sequence
from typing import NamedTuple

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

_WIDTH_INCHES = 8.0
_ROW_INCHES = 0.3


class RowOf(NamedTuple):
    """One value."""

    label: str
    """What the row is called; rows of one label stand in one line."""
    arm: str
    spread: Spread


def draw_rows(
    rows: Sequence[RowOf],
    *,
    name: str,
    title: str,
    across: str,
    synthetic_data: bool,
    reference: float | None = None,
) -> Drawing:
    """Draw values row by row, the first on top.

    Args:
        rows: At least one.
        name: Of the file, without suffix.
        title: What is shown.
        across: Name of the horizontal axis.
        synthetic_data: Whether to mark the figure.
        reference: Where a line says that nothing differs.

    Raises:
        ValueError: if there is no value.
    """
    if not rows:
        raise ValueError(f"{title}: nothing was measured: there is nothing to draw")
    labels = list(dict.fromkeys(row.label for row in rows))
    arms = list(dict.fromkeys(row.arm for row in rows))
    step = 0.7 / len(arms)
    chosen, words = [], {}
    with drawing_style():
        lines = max(len(labels), len(rows) / 2)
        height = 1.3 + _ROW_INCHES * lines
        figure = new_canvas(_WIDTH_INCHES, height, title, synthetic_data)
        axes = figure.add_subplot()
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if reference is not None:
            axes.axvline(reference, color=INK, linewidth=1)
        for index, arm in enumerate(arms):
            look = look_of(arm, arms)
            aside = (index - (len(arms) - 1) / 2) * step
            points = [
                (labels.index(row.label) + aside, row.spread) for row in rows if row.arm == arm
            ]
            gid = f"rows-{index}"
            axes.plot(
                [one.value for _, one in points],
                [at for at, _ in points],
                linestyle="",
                marker=look.marker,
                markersize=5.5,
                color=look.colour,
                label=printable(arm),
                gid=gid,
            )
            parts = draw_bars(axes, points, look.colour, gid, is_across=True)
            words[gid] = [f"{row.label}, {arm}: {row.spread}" for row in rows if row.arm == arm]
            chosen.append(Arm(arm, look.colour, look.marker, "", (gid, *parts)))
        axes.set_yticks(range(len(labels)), [printable(label) for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(across)
        if len(arms) > 1:
            add_legend(figure, [axes])
        text = "; ".join(f"{row.label}, {row.arm}: {row.spread}" for row in rows)
        return save(
            figure,
            plain(name),
            title,
            marked(text, synthetic_data),
            labels=words,
            arms=chosen,
            data=_table(rows),
        )


def _table(rows: Sequence[RowOf]) -> Table:
    cells = ((Cell(row.label), Cell(row.arm), *row.spread.cells()) for row in rows)
    return Table(("row", "arm", "value", "low", "high"), tuple(cells))
