"""What a recovery cost: tokens, time, and how many parameters it trained."""

from statistics import median
from typing import Any, NamedTuple

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.numbers import counts, fraction, number
from sentinel_research.reporting.recovery.results import place_of, recovered_cells
from sentinel_research.reporting.tables import Cell, Table

_NONE = Cell("-", kind="number")


class Cost(NamedTuple):
    """What one way to recover took at one fraction, over scorers and seeds."""

    recovery: str
    """With `dense` before it for the control."""
    methods: dict[str, Any]
    fraction: float
    num_cells: int
    """Trainings that came to their end."""
    num_steps: tuple[int, ...]
    """Every different number of optimiser steps, all phases together."""
    num_tokens: tuple[int, ...]
    """Every different number of tokens predicted."""
    num_trained_parameters: tuple[int, ...]
    """Every different number of entries that could move in any phase."""
    num_parameters: tuple[int, ...]
    """Every different number of parameters there are."""
    seconds: tuple[float, ...]
    """Wall time of every training, with validation and checkpoints, of the process that ended it,
    ascending."""


def list_costs(record: RunRecord) -> tuple[Cost, ...]:
    """A row per recovery and fraction, of trainings that came to their end.

    Args:
        record: A run with recoveries.
    """
    places: dict[tuple[str, float], list[CellRecord]] = {}
    for cell in recovered_cells(record):
        if cell.recover is not None and "diverged" not in _phases(cell)[-1]:
            _, share, recovery = place_of(cell)
            name = recovery if cell.prune_spec is not None else f"dense model, {recovery}"
            places.setdefault((name, share), []).append(cell)
    return tuple(_cost(name, share, cells) for (name, share), cells in places.items())


def _phases(cell: CellRecord) -> list[dict[str, Any]]:
    found = (cell.recover or {}).get("phases") or [{}]
    return list(found)


def _cost(name: str, share: float, cells: list[CellRecord]) -> Cost:
    return Cost(
        recovery=name,
        methods=(cells[0].recover_spec or {})["methods"],
        fraction=share,
        num_cells=len(cells),
        num_steps=_different(sum(one.get("num_steps", 0) for one in _phases(c)) for c in cells),
        num_tokens=_different(sum(one.get("num_tokens", 0) for one in _phases(c)) for c in cells),
        num_trained_parameters=_different(_most(c, "num_trained_parameters") for c in cells),
        num_parameters=_different(_most(c, "num_parameters") for c in cells),
        seconds=tuple(sorted(sum(one.get("seconds", 0.0) for one in _phases(c)) for c in cells)),
    )


def _most(cell: CellRecord, key: str) -> int:
    return max(one.get(key, 0) for one in _phases(cell))


def _different(values: Any) -> tuple[int, ...]:
    """Ascending; 0 stands for what a report left out."""
    return tuple(sorted({value for value in values if value}))


def costs_table(costs: tuple[Cost, ...]) -> Table:
    """A row per recovery and fraction.

    Args:
        costs: At least one.
    """
    headers: tuple[str, ...] = ("recovery", "fraction", "methods", "steps", "tokens", "seconds")
    headers += ("trained parameters", "parameters", "trainings")
    rows = tuple(
        (
            Cell(one.recovery),
            Cell(fraction(one.fraction), kind="number"),
            Cell(_methods(one.methods)),
            _counts(one.num_steps),
            _counts(one.num_tokens),
            Cell(number(median(one.seconds)), f"median of {len(one.seconds)}", "number"),
            _counts(one.num_trained_parameters),
            _counts(one.num_parameters),
            Cell(str(one.num_cells), kind="number"),
        )
        for one in costs
    )
    return Table(headers, rows)


def _counts(values: tuple[int, ...]) -> Cell:
    return Cell(counts(values), kind="number") if values else _NONE


def _methods(methods: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} ({', '.join(f'{key} {value}' for key, value in options.items())})"
        if options
        else name
        for name, options in methods.items()
    )
