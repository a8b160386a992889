"""A sweep without models: what planning, recording and going on cost, and how long workers take.

`python -m sentinel_research.sweep.simulate CELLS FOLDER` carries out a sweep of so many cells, each
of which is a made-up record that takes no time. Everything else is real: the plan, the files, the
progress, and the second run, which finds all done. `makespan` then says how long some workers take.
"""

import heapq
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentinel_research.progress import Plain, Progress
from sentinel_research.recipe import parse
from sentinel_research.record import EvaluationReport, Measurement, RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.sweep.executors import Finished, Order
from sentinel_research.sweep.plan import batches, plan_sweep
from sentinel_research.sweep.run import run_sweep
from sentinel_research.sweep.work import failed_record

_SEEDS = 100
_TASK = "sentinel_synthetic"
_LM_EVAL_BYTES = 8_000
_SAMPLES_BYTES = 20_000


class Overhead(NamedTuple):
    """What a sweep costs beside its cells, in processor time of the process that keeps records."""

    num_cells: int
    """Of the sweep."""
    plan_seconds: float
    """To plan all cells, and to write the index."""
    cell_seconds: float
    """To keep one cell and tell of it."""
    again_seconds: float
    """To find that all cells are done."""
    bytes_each: float
    """Of files, for one cell."""


class Makespan(NamedTuple):
    """How long some workers take."""

    seconds: float
    """From the first batch to the last cell."""
    busy_fraction: float
    """Share of that time in which a worker computes cells, mean of all."""


class _NoModels:
    """Returns made-up records at once."""

    num_workers = 1

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def run(self, order: Order) -> Iterator[Finished]:
        """See Executor."""
        self.began = time.process_time()
        for batch in order.batches:
            planned = {cell.id: cell for cell in order.models[batch.model].cells}
            base = order.stores[batch.model].index
            for name in batch.cells:
                record = failed_record(base, planned[name], "")
                _fill(record)
                yield Finished(batch.model, record, {_SAMPLES: b"x" * _SAMPLES_BYTES})
        self.ended = time.process_time()


_SAMPLES = f"samples_{_TASK}.jsonl"


def _fill(record: RunRecord) -> None:
    """Give a record what a measured cell has."""
    (cell,) = record.cells
    cell.status, cell.error = "done", None
    record.status, record.error = "done", None
    number = 10.0 + len(cell.id)
    cell.evaluation = EvaluationReport(
        measurements=[
            Measurement(
                task=_TASK,
                metric="token_perplexity",
                value=number,
                stderr=0.1,
                higher_is_better=False,
            )
        ],
        task_hashes={_TASK: "0" * 16},
        num_documents={_TASK: 1},
        max_length=1024,
        samples={_TASK: _SAMPLES},
        seconds=0.0,
        lm_eval={"results": "x" * _LM_EVAL_BYTES},
    )


def simulated_recipe(num_cells: int) -> Recipe:
    """One model, the dense one and masks of many fractions and seeds.

    Args:
        num_cells: At least 2; the grid is rounded up to whole rows of 100 seeds.
    """
    num_seeds = min(_SEEDS, num_cells - 1)
    rows = -(-(num_cells - 1) // num_seeds)
    content = {
        "name": "simulated",
        "description": "Cells that nobody computes.",
        "model": {"pretrained": "nowhere"},
        "prune": {
            "scorers": ["random"],
            "fractions": [round((row + 1) / (rows + 1), 6) for row in range(rows)],
            "seeds": list(range(num_seeds)),
        },
        "evaluate": {"tasks": [_TASK]},
        "sweep": {},
    }
    return parse(Recipe, content, "simulation")


def measure_overhead(num_cells: int, folder: Path, progress: Progress) -> Overhead:
    """Carry out a sweep whose cells take no time.

    Args:
        num_cells: See `simulated_recipe`.
        folder: Empty; filled with the records of all cells.
        progress: Told about every cell, as in any sweep.
    """
    recipe = simulated_recipe(num_cells)
    fake, start = _NoModels(), time.process_time()
    swept = run_sweep(recipe, folder, executor=fake, progress=progress, reports=False)
    again = _NoModels()
    before = time.process_time()
    run_sweep(recipe, folder, executor=again, progress=progress, reports=False)
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Overhead(
        num_cells=swept.num_cells,
        plan_seconds=fake.began - start,
        cell_seconds=(fake.ended - fake.began) / swept.num_cells,
        again_seconds=again.began - before,
        bytes_each=written / swept.num_cells,
    )


def makespan(
    num_cells: int,
    num_workers: int,
    *,
    cell_seconds: float,
    load_seconds: float,
    overhead_seconds: float,
) -> Makespan:
    """How long a cluster takes, by the rule by which batches are given to workers.

    Each worker takes the next batch when it has none, loads what the batch shares, and computes
    its cells one by one. One process keeps them all, one after the other.

    Args:
        num_cells: Of one model, alike.
        num_workers: Processes that compute.
        cell_seconds: Of a cell.
        load_seconds: Of a batch: load the model, calibrate.
        overhead_seconds: To keep a cell, see `measure_overhead`.

    Example:
        >>> makespan(
        ...     100, 4, cell_seconds=60.0, load_seconds=0.0, overhead_seconds=0.0
        ... ).seconds
        1560.0
    """
    recipe = simulated_recipe(num_cells)
    cells = plan_sweep(recipe, Path("nowhere"))[""].cells[:num_cells]
    sizes = [len(batch.cells) for batch in batches("", cells, num_workers)][::-1]
    # when a worker is free, and how many cells of its batch are left
    free = [(0.0, worker, 0) for worker in range(num_workers)]
    heapq.heapify(free)
    kept, end = 0.0, 0.0
    while free:
        now, worker, left = heapq.heappop(free)
        if not left:
            if not sizes:
                continue
            heapq.heappush(free, (now + load_seconds, worker, sizes.pop()))
            continue
        now += cell_seconds
        # it goes on while its cell waits to be kept
        kept = max(kept, now) + overhead_seconds
        end = max(end, kept)
        heapq.heappush(free, (now, worker, left - 1))
    return Makespan(end, num_cells * cell_seconds / (num_workers * end))


def _main(num_cells: str, folder: str) -> None:
    found = measure_overhead(int(num_cells), Path(folder), Plain())
    sys.stdout.write(json.dumps(found._asdict(), indent=1) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
