"""Who computes the cells of a sweep: this process, or others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from sentinel_research.evaluation.questions import Questions
from sentinel_research.progress import Progress
from sentinel_research.record import RunRecord
from sentinel_research.sweep.plan import Batch, SweptModel
from sentinel_research.sweep.store import CellStore
from sentinel_research.sweep.work import ModelWork


class Finished(NamedTuple):
    """A cell that came to its end."""

    model: str
    """Its name in the sweep."""
    record: RunRecord
    """Of the cell."""
    files: Mapping[str, bytes]
    """What belongs beside the record and is not there yet, by path in the cell's folder."""


class Order(NamedTuple):
    """What an executor is asked for."""

    models: Mapping[str, SweptModel]
    """Of the sweep."""
    stores: Mapping[str, CellStore]
    """Of each, for what their cells have in common; the caller keeps the cells."""
    batches: Sequence[Batch]
    """What is to be computed."""
    progress: Progress
    """Who is told about pieces of work inside a cell."""


class Executor(Protocol):
    """Computes batches of cells, in any order and anywhere."""

    @property
    def num_workers(self) -> int:
        """Processes that compute at the same time."""

    def run(self, order: Order) -> Iterator[Finished]:
        """Every cell as it comes to its end, those that failed too.

        Raises:
            UsageError: if nobody can compute.
            StorageError: if a disk is full.
        """


class InProcess:
    """Computes one cell after the other in this process."""

    num_workers = 1

    def run(self, order: Order) -> Iterator[Finished]:
        """See Executor; files are written where they belong."""
        questions = Questions()
        for batch in order.batches:
            model = order.models[batch.model]
            asked = set(batch.cells)
            cells = [cell for cell in model.cells if cell.id in asked]
            store = order.stores[batch.model]
            work = ModelWork(
                model.recipe,
                store.index,
                cells,
                model.folder,
                order.progress,
                store.write_index,
                questions,
                model.name,
            )
            for record in work.records():
                yield Finished(batch.model, record, {})
