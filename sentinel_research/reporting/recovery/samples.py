"""Texts that models wrote while they were trained, and the fraction that methods pruned on the way.

Of a cell's report two parts are read where they are there. `recover.phases[i].samples` has
`{"step": int, "prompt": str, "text": str}`, `recover.masks` has `{"step": int, "fraction": float}`;
steps begin with every phase in the first, with the recovery in the second.
"""

from typing import Any, NamedTuple

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.recovery.results import name_of, recovered_cells, seed_of
from sentinel_research.reporting.tables import Cell, Table

MAX_SAMPLES = 40


class Sample(NamedTuple):
    """What a model wrote at one step."""

    recovery: str
    """Which cell."""
    phase: str
    step: int
    """Of the phase."""
    prompt: str
    text: str


def list_samples(record: RunRecord) -> tuple[Sample, ...]:
    """Every stored text, in the order of the cells and steps.

    Args:
        record: A run with recoveries.
    """
    return tuple(
        Sample(
            name_of(cell),
            str(phase.get("name", "")),
            int(one["step"]),
            str(one.get("prompt", "")),
            str(one["text"]),
        )
        for cell in recovered_cells(record)
        for phase in (cell.recover or {}).get("phases") or ()
        for one in phase.get("samples") or ()
        if "step" in one and "text" in one
    )


def samples_table(record: RunRecord, samples: tuple[Sample, ...]) -> Table:
    """The texts of every recovery's first seed, as many as a reader wants.

    Args:
        record: The run.
        samples: Its texts.
    """
    shown = first_seed(record, samples)[:MAX_SAMPLES]
    rows = tuple(
        (
            Cell(one.recovery),
            Cell(one.phase),
            Cell(f"{one.step:,}", kind="number"),
            Cell(one.prompt),
            Cell(one.text),
        )
        for one in shown
    )
    return Table(("recovery", "phase", "step", "prompt", "text"), rows)


def first_seed(record: RunRecord, samples: tuple[Sample, ...]) -> list[Sample]:
    """The texts of every recovery's first seed."""
    cells = recovered_cells(record)
    first = min(seed_of(cell) for cell in cells)
    names = {name_of(cell) for cell in cells if seed_of(cell) == first}
    return [one for one in samples if one.recovery in names]


def mask_history(cell: CellRecord) -> list[tuple[int, float]]:
    """Step and fraction pruned, of a method that prunes while it trains; empty for others."""
    found: Any = (cell.recover or {}).get("masks") or ()
    return [
        (int(one["step"]), float(one["fraction"]))
        for one in found
        if isinstance(one, dict) and "step" in one and "fraction" in one
    ]
