"""Carry out a sweep: compute what no record has yet, and keep every cell as it comes to its end."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from sentinel_research import distributed
from sentinel_research.cells import tell_cell
from sentinel_research.errors import UsageError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.inputs import define_inputs
from sentinel_research.pipeline import conclude, default_folder
from sentinel_research.progress import Progress, piece, watched
from sentinel_research.record import SWEEP_FILE, RunRecord, now
from sentinel_research.specs import Recipe
from sentinel_research.sweep.executors import Executor, Finished, InProcess, Order
from sentinel_research.sweep.plan import Batch, SweptModel, batches, plan_sweep
from sentinel_research.sweep.store import CellStore
from sentinel_research.tracking import tracked


class Failure(NamedTuple):
    """A cell without a result."""

    cell: str
    """MODEL/CELL, or CELL in a sweep of one model."""
    error: str
    """Why."""


class Swept(NamedTuple):
    """What became of a sweep."""

    folder: Path
    """Of the sweep."""
    models: tuple[Path, ...]
    """The folder of every model."""
    num_cells: int
    """That the recipe asks for."""
    num_done: int
    """That have a result, those of earlier runs too."""
    num_computed: int
    """That were computed now."""
    failures: tuple[Failure, ...]
    """Of all that have none."""
    failed_checks: tuple[str, ...]
    """Of the models, what must hold about the results and does not."""

    @property
    def is_sound(self) -> bool:
        """Whether every cell has a result and every check held."""
        return not self.failures and not self.failed_checks


def run_sweep(
    recipe: Recipe,
    output: Path | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    reports: bool = True,
    track: Iterable[str] = (),
) -> Swept:
    """Run a sweep, or go on with it: cells that failed are begun again, those done are left alone.

    Args:
        recipe: With `sweep`.
        output: Its folder; `runs/NAME-FINGERPRINT` by default.
        executor: Who computes; this process by default.
        progress: Who is told about progress.
        reports: Whether the joined report of every model is written at the end.
        track: Names of trackers that are told too; of cells on a cluster, when they come back.

    Raises:
        UsageError: for a request that cannot be carried out, or a folder of another recipe.
        StorageError: if a disk is full; nothing that was finished is lost.
    """
    distributed.refuse_several("a sweep", "start it without a launcher; see --executor ray")
    progress, executor = tracked(track, progress), executor or InProcess()
    folder = output or default_folder(recipe)
    models = plan_sweep(recipe, folder)
    define_inputs(recipe)
    create_folder(folder)
    with ExitStack() as locked:
        try:
            locked.enter_context(FileLock(folder / ".lock", timeout=0))
        except Timeout as error:
            raise UsageError(
                f"another process is running in {folder}", "wait for it, or choose another --output"
            ) from error
        names = {"name": recipe.name, "models": list(models)}
        write_atomically(folder / SWEEP_FILE, json.dumps(names, indent=1) + "\n")
        stores = {
            name: CellStore(one.folder, one.recipe, one.cells) for name, one in models.items()
        }
        first, *others = (store.index for store in stores.values())
        try:
            with watched(progress, first, folder):
                num_computed = _compute(recipe, models, stores, executor, progress)
                swept = _concluded(folder, models, stores, num_computed, progress, reports=reports)
        finally:
            if first.tracking:
                for index in others:
                    index.tracking = first.tracking
                for store in stores.values():
                    store.write_index()
        return swept


def _compute(
    recipe: Recipe,
    models: Mapping[str, SweptModel],
    stores: Mapping[str, CellStore],
    executor: Executor,
    progress: Progress,
) -> int:
    """Compute every cell without a result; how many those were."""
    open_cells = {
        name: [cell for cell in one.cells if stores[name].statuses.get(cell.id) != "done"]
        for name, one in models.items()
    }
    todo = [
        batch
        for name, cells in open_cells.items()
        for batch in batches(name, cells, executor.num_workers)
    ]
    num_cells = sum(len(one.cells) for one in models.values())
    num_open = sum(map(len, open_cells.values()))
    num_computed = 0
    with piece(
        progress,
        f"{recipe.name}: cells",
        num_cells,
        done=num_cells - num_open,
        kinds=_kinds(models, todo) if executor.num_workers == 1 else (),
    ):
        for finished in executor.run(Order(models, stores, todo, progress)):
            if _keep(stores[finished.model], finished):
                num_computed += 1
                _tell(models[finished.model], finished.record, progress)
    return num_computed


def _kinds(models: Mapping[str, SweptModel], todo: Sequence[Batch]) -> list[str]:
    """What kind each cell is, in the order in which one process computes them."""
    kinds = {
        name: {cell.id: f"{name} {cell.kind}" for cell in one.cells} for name, one in models.items()
    }
    return [kinds[batch.model][cell] for batch in todo for cell in batch.cells]


def _keep(store: CellStore, finished: Finished) -> bool:
    if finished.record.load is not None and store.index.load is None:
        store.index.load = finished.record.load
    return store.keep(finished.record, finished.files)


def _tell(model: SweptModel, record: RunRecord, progress: Progress) -> None:
    (cell,) = record.cells
    tell_cell(progress, model.label(cell.id), model.recipe, cell)


def write_report(folder: Path) -> None:
    """Write the joined report of one model; what draws is loaded now."""
    from sentinel_research.reporting import report

    report(folder)


def write_joined_report(folder: Path) -> None:
    """Write the report of all models together."""
    from sentinel_research.reporting import report_sweep

    report_sweep(folder)


def _concluded(
    folder: Path,
    models: Mapping[str, SweptModel],
    stores: Mapping[str, CellStore],
    num_computed: int,
    progress: Progress,
    *,
    reports: bool,
) -> Swept:
    """What the cells of each model show together, as its report; what failed."""
    failures: list[Failure] = []
    checks: list[str] = []
    num_cells = num_done = 0
    for name, model in models.items():
        joined = RunRecord.read(model.folder)
        conclude(model.recipe, joined, model.folder)
        open_cells = [cell for cell in joined.cells if cell.status != "done"]
        num_cells += len(joined.cells)
        num_done += len(joined.cells) - len(open_cells)
        failures += [
            Failure(model.label(cell.id), cell.error or "it was not computed")
            for cell in open_cells
        ]
        said = [f"{check.name}: {check.detail}" for check in joined.failed_checks()]
        checks += [f"{name}: {one}" if name else one for one in said]
        index = stores[name].index
        index.status = "failed" if open_cells else "done"
        for part in ("load", "datasets", "checks", "study"):
            setattr(index, part, getattr(joined, part))
        index.finished_at = now()
        if num_computed:
            stores[name].write_index()
        if reports:
            if num_computed or not (model.folder / "report.html").exists():
                write_report(model.folder)
            progress.say(f"report: {model.folder / 'report.html'}")
        progress.concluded(joined, model.folder, name)
    if reports and len(models) > 1:
        if num_computed or not (folder / "report.html").exists():
            write_joined_report(folder)
        progress.say(f"report of all models: {folder / 'report.html'}")
    return Swept(
        folder,
        tuple(model.folder for model in models.values()),
        num_cells,
        num_done,
        num_computed,
        tuple(failures),
        tuple(checks),
    )
