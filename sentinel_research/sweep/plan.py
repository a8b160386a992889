"""What a sweep has to do: its models, and batches of cells that one process computes together."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel_research.cell_plan import PlannedCell, plan_cells
from sentinel_research.record import MODELS_FOLDER
from sentinel_research.specs import CalibrationSpec, Recipe

# of each worker: what the last one still computes alone is a quarter of its share at most
_BATCHES = 4


class SweptModel(NamedTuple):
    """One model of a sweep with its cells."""

    name: str
    """In `sweep.models`; empty where that names none."""
    recipe: Recipe
    """As of a run of its own."""
    cells: list[PlannedCell]
    """All of them, the dense one first."""
    folder: Path
    """Its records."""

    def label(self, cell: str) -> str:
        """A cell's name among those of all models."""
        return f"{self.name}/{cell}" if self.name else cell


class Batch(NamedTuple):
    """Cells of one model that share what is loaded, tokenised and calibrated on."""

    model: str
    """Its name in the sweep."""
    cells: tuple[str, ...]
    """Which cells, in the order in which they are computed."""


def plan_sweep(recipe: Recipe, folder: Path) -> dict[str, SweptModel]:
    """The models of a sweep by their name.

    Args:
        recipe: With `sweep`.
        folder: Of the sweep; that of its only model where the recipe names none.

    Raises:
        UsageError: see `cell_plan.plan_cells`.
    """
    assert recipe.sweep is not None  # the caller's recipe is a sweep
    found = {}
    for name in recipe.sweep.models or ("",):
        own = recipe.of_model(name)
        place = folder / MODELS_FOLDER / name if name else folder
        found[name] = SweptModel(name, own, plan_cells(own), place)
    return found


def batches(name: str, cells: Sequence[PlannedCell], num_workers: int) -> list[Batch]:
    """Divide the cells of a model among some workers.

    One worker gets all at once. Several get cells that read the same calibration text, in parts
    small enough that they end at about the same time.

    Args:
        name: Of the model.
        cells: Those that are to be computed.
        num_workers: Processes that compute.

    Example:
        >>> cells = [PlannedCell(str(one), None) for one in range(5)]
        >>> [batch.cells for batch in batches("", cells, 1)]
        [('0', '1', '2', '3', '4')]
    """
    if num_workers == 1:
        return [Batch(name, tuple(cell.id for cell in cells))] if cells else []
    most = -(-len(cells) // (_BATCHES * num_workers))
    alike: dict[CalibrationSpec | None, list[str]] = {}
    for cell in cells:
        alike.setdefault(cell.prune.calibration if cell.prune else None, []).append(cell.id)
    return [
        Batch(name, tuple(ids[start : start + most]))
        for ids in alike.values()
        for start in range(0, len(ids), most)
    ]
