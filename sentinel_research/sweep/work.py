"""Computing the cells of one model in this process, each into a record of its own."""

import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sentinel_research.cell_plan import DENSE, PlannedCell
from sentinel_research.cells import Prepared, run_cell
from sentinel_research.errors import SentinelError, StorageError
from sentinel_research.files import is_full
from sentinel_research.inputs import define_inputs, record_inputs
from sentinel_research.memory import high_water
from sentinel_research.preparation import prepare
from sentinel_research.progress import Progress
from sentinel_research.record import CELLS_FOLDER, CellOf, CellRecord, RunRecord, now
from sentinel_research.specs import Recipe


class ModelWork:
    """Computes cells of one model, which is loaded once.

    Args:
        recipe: Of the model.
        base: Its record: what the cells' records have in common. Its cells are left alone.
        cells: Those that will be asked for; what scorers read is gathered for all of them.
        folder: Of the model; files of a cell go to its own folder in it.
        progress: Who is told about trainings.
        kept: Writes the record, once the model was trained.
    """

    def __init__(
        self,
        recipe: Recipe,
        base: RunRecord,
        cells: Sequence[PlannedCell],
        folder: Path,
        progress: Progress,
        kept: Callable[[], object],
    ) -> None:
        self._kept = kept
        self._recipe, self._base, self._cells = recipe, base, cells
        self._folder, self._progress = folder, progress
        self._prepared: Prepared | None = None
        self._refusal: str | None = None
        self._has_inputs = False

    def records(self) -> Iterator[RunRecord]:
        """The record of every cell, as it comes to its end; also of one that failed.

        Raises:
            StorageError: if a file cannot be written.
        """
        for planned in self._cells:
            yield self._computed(planned)

    def _computed(self, planned: PlannedCell) -> RunRecord:
        started_at, wall, processor = now(), time.perf_counter(), time.process_time()
        cell, peaks = planned.new_record, []
        try:
            prepared = self._ready()
            run_cell(
                self._recipe, prepared, cell, planned, lambda: peaks.append(self._peak()),
                self._folder,
            )  # fmt: skip
            self._read_inputs(cell)
        except Exception as error:
            if is_full(error) or isinstance(error, StorageError):
                raise self._storage(error) from error
            cell.status, cell.error = "failed", _described(error)
        where = f"{CELLS_FOLDER}/{cell.id}/"
        return self._base.model_copy(
            update={
                "cells": [cell.moved(out_of=where)],
                "status": cell.status,
                "error": cell.error,
                "started_at": started_at,
                "finished_at": now(),
                "train": None,
                "cell_of": CellOf(
                    run="../..",
                    dense=None if planned.id == DENSE else f"../{DENSE}",
                    kind=planned.kind,
                    seconds=time.perf_counter() - wall,
                    processor_seconds=time.process_time() - processor,
                    peak_memory_bytes=max(filter(None, peaks), default=None),
                    computed_on=platform.node(),
                ),
            }
        )

    def _ready(self) -> Prepared:
        """What all cells share; where it cannot be had, every cell fails for that reason."""
        if self._refusal is not None:
            raise SentinelError(self._refusal)
        if self._prepared is None:
            try:
                define_inputs(self._recipe)
                self._prepared = prepare(
                    self._recipe,
                    list(self._cells),
                    self._base,
                    self._folder,
                    self._progress,
                    self._kept,
                )
            except StorageError:
                raise
            except SentinelError as error:
                self._refusal = str(error)
                raise
        return self._prepared

    def _read_inputs(self, cell: CellRecord) -> None:
        """Note what all cells read, with the first that was measured."""
        if not self._has_inputs and cell.evaluation is not None:
            record_inputs(self._recipe, self._base, cell.evaluation)
            self._has_inputs = True

    def _peak(self) -> int | None:
        return high_water(self._recipe.model.device)

    def _storage(self, error: BaseException) -> StorageError:
        if isinstance(error, StorageError):
            return error
        return StorageError(
            f"cannot write below {self._folder}: {error}",
            "free space or choose another folder with --output; the same command resumes",
        )


def _described(error: Exception) -> str:
    """Why a cell failed; where, if nobody foresaw it."""
    if isinstance(error, SentinelError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
