"""What happened during recovery: losses by cell, and the fraction of methods that prune on the way.

The horizontal axis counts tokens: phases may have batches of different sizes, and follow each
other.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.numbers import fraction, number
from sentinel_research.reporting.recovery.panels import add_legend, panels, plain_name, style_of
from sentinel_research.reporting.recovery.results import name_of, place_of, recovered_cells
from sentinel_research.reporting.recovery.samples import mask_history
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

_COLUMNS = 3
_MOST_COLUMNS = 4


class Curve(NamedTuple):
    """Losses of one cell."""

    tokens: list[float]
    """Predicted until then, all phases together."""
    losses: list[float]
    """Nats per token."""


def loss_curves(cell: CellRecord, history: str) -> Curve:
    """The losses of a cell, phase after phase.

    Args:
        cell: A recovered cell.
        history: `losses` of training batches, or `validation`.
    """
    before, tokens, losses = 0.0, [], []
    for phase in (cell.recover or {}).get("phases") or ():
        num_steps, num_tokens = phase.get("num_steps") or 0, phase.get("num_tokens") or 0
        per_step = num_tokens / num_steps if num_steps else 0.0
        for entry in phase.get(history) or ():
            tokens.append(before + entry["step"] * per_step)
            losses.append(entry["loss"])
        before += num_tokens
    return Curve(tokens, losses)


def draw_losses(record: RunRecord, recoveries: list[str], synthetic_data: bool) -> Drawing | None:
    """Draw every cell's losses, a panel per pruning; None if none was recorded.

    Args:
        record: A run with recoveries.
        recoveries: All names of the run, in their order.
        synthetic_data: Whether to mark the figure.
    """
    cells = [one for one in recovered_cells(record) if loss_curves(one, "losses").losses]
    # the dense model last: every scorer has a row of its own
    cells.sort(key=lambda one: one.prune_spec is None)
    places: dict[str, list[CellRecord]] = {}
    for cell in cells:
        scorer, share, _ = place_of(cell)
        where = f"{scorer} at {fraction(share)}" if cell.prune_spec else "dense model"
        places.setdefault(where, []).append(cell)
    if not places:
        return None
    with drawing_style():
        num_shares = len({place_of(cell)[1] for cell in cells if cell.prune_spec})
        columns = min(_MOST_COLUMNS, num_shares or 1)
        figure, drawn = panels(places, columns, synthetic_data, across="tokens trained on")
        for axes, own in zip(drawn, places.values(), strict=True):
            for cell in own:
                _draw_losses(axes, cell, recoveries)
        if any(loss_curves(cell, "validation").losses for cell in cells):
            handle = Line2D([], [], color=INK, linestyle="--", label="validation")
            drawn[0].add_line(handle)
        drawn[0].xaxis.set_major_locator(MaxNLocator(4))
        drawn[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        figure.supylabel("loss (nats per token)", fontsize=10)
        add_legend(figure, drawn)
        words = marked("; ".join(_in_words(record)), synthetic_data)
        return save(
            figure,
            "recovery_losses",
            "Loss of every recovery against tokens",
            words,
            arms=_arms(cells, recoveries),
            data=_losses_table(cells),
        )


def _arms(cells: list[CellRecord], recoveries: list[str]) -> list[Arm]:
    """Every recovery, with the lines of its cells."""
    found = []
    for recovery in dict.fromkeys(place_of(cell)[2] for cell in cells):
        own = [cell for cell in cells if place_of(cell)[2] == recovery]
        parts = [plain_name(cell.id) for cell in own]
        parts += [plain_name(cell.id, "validation") for cell in own]
        colour = style_of(recovery, recoveries)["color"]
        found.append(Arm(recovery, colour, "", "-", tuple(parts)))
    return found


def _losses_table(cells: list[CellRecord]) -> Table:
    rows = [
        (
            Cell(name_of(cell)),
            Cell(kind),
            Cell(f"{tokens:,.0f}", kind="number"),
            Cell(number(loss), str(loss), "number"),
        )
        for cell in cells
        for kind, history in (("training", "losses"), ("validation", "validation"))
        for tokens, loss in zip(*loss_curves(cell, history), strict=True)
    ]
    return Table(("recovery", "loss of", "tokens", "nats per token"), tuple(rows))


def _draw_losses(axes: Axes, cell: CellRecord, recoveries: list[str]) -> None:
    recovery = place_of(cell)[2]
    colour = style_of(recovery, recoveries)["color"]
    tokens, losses = loss_curves(cell, "losses")
    axes.plot(
        tokens,
        losses,
        color=colour,
        linewidth=0.9,
        label=printable(recovery),
        gid=plain_name(cell.id),
    )
    tokens, losses = loss_curves(cell, "validation")
    axes.plot(
        tokens, losses, "--", color=colour, linewidth=1.1, gid=plain_name(cell.id, "validation")
    )


def _in_words(record: RunRecord) -> Iterator[str]:
    for cell in recovered_cells(record):
        _, losses = loss_curves(cell, "losses")
        if losses:
            yield f"{name_of(cell)}: {number(losses[0])} to {number(losses[-1])}"


def draw_masks(record: RunRecord, recoveries: list[str], synthetic_data: bool) -> Drawing | None:
    """Draw the fraction pruned against the step; None if no method recorded any.

    Args:
        record: A run with recoveries.
        recoveries: All names of the run, in their order.
        synthetic_data: Whether to mark the figure.
    """
    known = [(cell, mask_history(cell)) for cell in recovered_cells(record)]
    found: list[tuple[CellRecord, list[tuple[int, float]]]] = [pair for pair in known if pair[1]]
    if not found:
        return None
    scorers = list(dict.fromkeys(place_of(cell)[0] for cell, _ in found))
    with drawing_style():
        figure, drawn = panels(scorers, _COLUMNS, synthetic_data, across="step")
        for cell, history in found:
            scorer, _, recovery = place_of(cell)
            line: dict[str, Any] = {
                "color": style_of(recovery, recoveries)["color"],
                "label": printable(recovery),
                "linewidth": 1.1,
                "gid": plain_name("masks", cell.id),
            }
            axes = drawn[scorers.index(scorer)]
            axes.step(*zip(*history, strict=True), where="post", **line)
        figure.supylabel("fraction pruned", fontsize=10)
        add_legend(figure, drawn)
        words = "; ".join(
            f"{name_of(cell)}: {fraction(history[0][1])} at step {history[0][0]} to "
            f"{fraction(history[-1][1])} at step {history[-1][0]}"
            for cell, history in found
        )
        return save(
            figure,
            "recovery_masks",
            "Fraction pruned during recovery",
            marked(words, synthetic_data),
            data=_masks_table(found),
        )


def _masks_table(found: list[tuple[CellRecord, list[tuple[int, float]]]]) -> Table:
    rows = [
        (
            Cell(name_of(cell)),
            Cell(f"{step:,}", kind="number"),
            Cell(fraction(share), kind="number"),
        )
        for cell, history in found
        for step, share in history
    ]
    return Table(("recovery", "step", "fraction pruned"), tuple(rows))
