"""Computing the cells of one model in this process, each into a record of its own."""

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel_research.cell_plan import DENSE, PlannedCell
from sentinel_research.cells import Prepared, run_cell
from sentinel_research.errors import SentinelError, StorageError
from sentinel_research.evaluation.questions import Questions
from sentinel_research.files import is_full
from sentinel_research.inputs import record_inputs
from sentinel_research.memory import high_water
from sentinel_research.preparation import prepare
from sentinel_research.progress import Progress
from sentinel_research.record import CELLS_FOLDER, CellOf, CellRecord, RunRecord, now
from sentinel_research.specs import Recipe


class _Taken(NamedTuple):
    """What a cell took."""

    started_at: str
    seconds: float
    processor_seconds: float
    peak_bytes: int | None


class ModelWork:
    """Computes cells of one model, which is loaded once.

    Args:
        recipe: Of the model.
        base: Its record: what the cells' records have in common. Its cells are left alone.
        cells: Those that will be asked for; what scorers read is gathered for all of them.
        folder: Of the model; files of a cell go to its own folder in it.
        progress: Who is told about trainings.
        kept: Writes the record, once the model was trained.
        questions: What the cells of all models are asked.
        name: Of the model in the sweep; empty where it has none.
    """

    def __init__(
        self,
        recipe: Recipe,
        base: RunRecord,
        cells: Sequence[PlannedCell],
        folder: Path,
        progress: Progress,
        kept: Callable[[], object],
        questions: Questions,
        name: str = "",
    ) -> None:
        self._name = name
        self._questions = questions
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

    def record_of(self, cell: str) -> RunRecord:
        """The record of one of the cells.

        Raises:
            StorageError: if a file cannot be written.
        """
        (planned,) = (one for one in self._cells if one.id == cell)
        return self._computed(planned)

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
        taken = _Taken(
            started_at, time.perf_counter() - wall, time.process_time() - processor,
            max(filter(None, peaks), default=None),
        )  # fmt: skip
        return _record(self._base, planned, cell, taken)

    def _ready(self) -> Prepared:
        """What all cells share; where it cannot be had, every cell fails for that reason."""
        if self._refusal is not None:
            raise SentinelError(self._refusal)
        if self._prepared is None:
            try:
                self._prepared = prepare(
                    self._recipe,
                    list(self._cells),
                    self._base,
                    self._folder,
                    self._progress,
                    self._kept,
                    self._questions,
                )._replace(model_name=self._name)
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


def failed_record(base: RunRecord, planned: PlannedCell, error: str) -> RunRecord:
    """The record of a cell of which nothing came back.

    Args:
        base: See ModelWork.
        planned: The cell.
        error: Why.
    """
    cell = planned.new_record
    cell.status, cell.error = "failed", error
    return _record(base, planned, cell, _Taken(now(), 0.0, 0.0, None))


def _record(base: RunRecord, planned: PlannedCell, cell: CellRecord, taken: _Taken) -> RunRecord:
    return base.model_copy(
        update={
            "cells": [cell.moved(out_of=f"{CELLS_FOLDER}/{cell.id}/")],
            "status": cell.status,
            "error": cell.error,
            "started_at": taken.started_at,
            "finished_at": now(),
            "train": None,
            "cell_of": CellOf(
                run="../..",
                dense=None if planned.id == DENSE else f"../{DENSE}",
                kind=planned.kind,
                seconds=taken.seconds,
                processor_seconds=taken.processor_seconds,
                peak_memory_bytes=taken.peak_bytes,
                computed_on=f"{platform.node()}, process {os.getpid()}",
            ),
        }
    )


def _described(error: Exception) -> str:
    """Why a cell failed; where, if nobody foresaw it."""
    if isinstance(error, SentinelError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
