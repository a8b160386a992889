"""The losses of one training: of its batches, and of the validations between them."""

import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from sentinel_research.reporting.figures import COLOURS, MARKERS, draw_legend, new_figure
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.svg import Drawing, drawing_style, marked, save
from sentinel_research.reporting.tables import Cell, Table

_NONE = Cell("-", kind="number")


def draw_losses(
    losses: Sequence[dict[str, Any]],
    synthetic_data: bool,
    *,
    validation: Sequence[dict[str, Any]] = (),
    name: str = "training",
) -> Drawing:
    """Draw the loss against the step of training.

    Args:
        losses: `{"step": int, "loss": nats per token}`, at least one.
        synthetic_data: Whether to mark the figure.
        validation: The same of the validations.
        name: What was trained; also the beginning of the file's name.
    """
    if not losses:
        raise ValueError("no loss was recorded: there is nothing to draw")
    steps = [entry["step"] for entry in losses]
    values = [entry["loss"] for entry in losses]
    with drawing_style():
        figure, axes = new_figure(name, synthetic_data, False)
        axes.plot(steps, values, color=COLOURS[0], linewidth=1.8, gid="loss", label="training")
        axes.set_xlabel("step")
        axes.set_ylabel("training loss (nats per token)")
        words = (
            f"loss {number(values[0])} at step {steps[0]}, {number(values[-1])} at step {steps[-1]}"
        )
        if validation:
            _draw_validation(axes, validation)
            draw_legend(figure, axes)
            axes.set_ylabel("loss (nats per token)")
            last = validation[-1]
            words += f"; validation loss {number(last['loss'])} at step {last['step']}"
        title = "Training loss against step"
        file = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        text = marked(words, synthetic_data)
        return save(figure, f"{file}_loss", title, text, data=_table(losses, validation))


def _draw_validation(axes: Axes, validation: Sequence[dict[str, Any]]) -> None:
    axes.plot(
        [entry["step"] for entry in validation],
        [entry["loss"] for entry in validation],
        color=COLOURS[1],
        linewidth=1.8,
        marker=MARKERS[0],
        gid="validation",
        label="validation",
    )


def _table(losses: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]]) -> Table:
    """A row per entry of the log; what was not validated at that step is empty."""
    by_step: dict[int, list[Cell]] = {}
    for column, history in enumerate((losses, validation)):
        for entry in history:
            row = by_step.setdefault(entry["step"], [_NONE, _NONE])
            row[column] = Cell(number(entry["loss"]), str(entry["loss"]), "number")
    columns = 2 if validation else 1
    rows = [
        (Cell(f"{step:,}", kind="number"), *by_step[step][:columns]) for step in sorted(by_step)
    ]
    headers = ("step", "training loss", "validation loss")[: columns + 1]
    return Table(headers, tuple(rows))
