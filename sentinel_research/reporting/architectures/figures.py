"""Compared models side by side: what they scored, how they learnt, and what length costs them."""

from collections.abc import Iterable

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.architectures.long_context import LengthCost
from sentinel_research.reporting.architectures.results import TaskResults, cells_of
from sentinel_research.reporting.plots import (
    Line,
    Panel,
    RowOf,
    Spread,
    draw_lines,
    draw_rows,
)
from sentinel_research.reporting.svg import Drawing
from sentinel_research.statistics import mean_interval

_MIB = float(1 << 20)


def draw_results(found: TaskResults, synthetic_data: bool) -> Drawing | None:
    """Draw every model's mean with its interval over seeds; None for fewer than two models."""
    label = found.metric.label.replace("_", " ")
    rows = [
        RowOf(one.name, label, Spread(one.mean, *(one.interval[1:] if one.interval else ())))
        for one in found.results
        if one.mean is not None
    ]
    if len(rows) < 2:
        return None
    better = {True: " (higher is better)", False: " (lower is better)", None: ""}
    return draw_rows(
        rows,
        name=f"models_{found.task}",
        title=f"{label[0].upper()}{label[1:]} on {found.task}",
        across=label + better[found.higher_is_better],
        synthetic_data=synthetic_data,
    )


def draw_learning(record: RunRecord) -> Drawing | None:
    """Draw losses by step, means over seeds; None if none was recorded.

    Args:
        record: A run that compares architectures.
    """
    names = dict.fromkeys(cell.arm.name for cell in record.cells if cell.arm is not None)
    cells = {name: cells_of(record, name) for name in names}
    panels = [
        Panel(title, tuple(_lines(cells, key)))
        for key, title in (("losses", "training loss, nats per token"),
                           ("validation", "validation loss, nats per token"))
    ]  # fmt: skip
    if not any(panel.lines for panel in panels):
        return None
    return draw_lines(
        panels,
        name="learning",
        title="Losses by step, means over seeds",
        across="step",
        synthetic_data=record.synthetic_data,
    )


def _lines(cells: dict[str, list[CellRecord]], key: str) -> Iterable[Line]:
    for name, own in cells.items():
        by_step: dict[int, list[float]] = {}
        for cell in own:
            for entry in (cell.train or {}).get(key) or ():
                by_step.setdefault(entry["step"], []).append(entry["loss"])
        # a mean over fewer seeds than the others would bend the line
        most = max((len(values) for values in by_step.values()), default=0)
        points = [
            (float(step), Spread(*mean_interval(values)) if len(values) > 1 else Spread(values[0]))
            for step, values in sorted(by_step.items())
            if len(values) == most
        ]
        if points:
            yield Line(name, tuple(points))


def draw_costs(costs: Iterable[LengthCost], synthetic_data: bool) -> Drawing | None:
    """Draw speed and memory by the length that is read; None without any."""
    speed: dict[str, list[tuple[float, Spread]]] = {}
    memory: dict[str, list[tuple[float, Spread]]] = {}
    for one in costs:
        speed.setdefault(one.model, []).append((float(one.length), Spread(one.tokens_per_second)))
        size = Spread(one.cache_bytes / _MIB)
        memory.setdefault(one.model, []).append((float(one.length), size))
    if not speed:
        return None
    return draw_lines(
        [
            Panel(title, tuple(Line(name, tuple(own)) for name, own in lines.items()))
            for title, lines in (("tokens per second (higher is better)", speed),
                                 ("state or cache, MiB (lower is better)", memory))
        ],
        name="length_costs",
        title="Speed and memory by length",
        across="tokens read",
        synthetic_data=synthetic_data,
        is_log=True,
    )  # fmt: skip
