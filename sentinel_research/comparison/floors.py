"""The floors of a comparison: n-gram models, measured by the same tasks.

They count the blocks that the networks train on, once. Where a network does not come through all of
them, they count as many, spread evenly: which ones a network sees depends on its seed.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.cells import evaluate_cell, headline
from sentinel_research.errors import SentinelError
from sentinel_research.progress import Progress, piece
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.specs import Recipe
from sentinel_research.specs.compare import NGRAM_PREFIX
from sentinel_research.trained import recipe_tokenizer


def run_floors(recipe: Recipe, record: RunRecord, folder: Path, progress: Progress) -> None:
    """Fit and measure every n-gram model that the record does not have yet.

    Args:
        recipe: With `compare`.
        record: With the planned cells.
        folder: The run folder.
        progress: Who is told about progress.

    Raises:
        UsageError, DataError: if there are no blocks to fit to.
    """
    from sentinel_research.data.training_set import training_set

    open_cells = [cell for cell in record.cells if _order_of(cell) and cell.status != "done"]
    if not open_cells:
        return
    assert recipe.train is not None  # the recipe was validated
    tokenizer = recipe_tokenizer(recipe)
    data = training_set(recipe.train, tokenizer)
    with piece(progress, "n-grams", len(open_cells)):
        for cell in open_cells:
            cell.status, cell.error = "started", None
            try:
                floor = partial(_run_floor, recipe, cell, data, tokenizer, folder)
                distributed.on_main(floor)
                cell.status = "done"
            except SentinelError as error:
                cell.status, cell.error = "failed", str(error)
            finally:
                record.write(folder)
            progress.advance(f"{cell.id} {headline(recipe, cell)}")


def _run_floor(recipe: Recipe, cell: CellRecord, data: Any, tokenizer: Any, folder: Path) -> None:
    from sentinel_research.data.training_set import spread, whole_batches
    from sentinel_research.models.ngram import NgramCounts, NgramForCausalLM, nats_per_token

    assert recipe.train is not None
    start = time.perf_counter()
    blocks = whole_batches(data.blocks, recipe.train.batch_size)
    # networks that stop within their first pass see as many, in an order of their seed's own
    blocks = spread(blocks, min(len(blocks), recipe.train.num_steps * recipe.train.batch_size))
    counts = NgramCounts(blocks, _order_of(cell), len(tokenizer))
    is_validated = data.validation is not None
    cell.train = {
        "num_tokens": blocks.shape[0] * (blocks.shape[1] - 1),
        "num_parameters": counts.num_ngrams,
        "validation_loss": nats_per_token(counts, data.validation) if is_validated else None,
        "seconds": time.perf_counter() - start,
        "data": data.report,
    }
    evaluate_cell(recipe, NgramForCausalLM(counts), tokenizer, cell, folder)


def _order_of(cell: CellRecord) -> int:
    """The order of an n-gram cell; 0 for any other."""
    name = cell.arm.name if cell.arm is not None else ""
    is_floor = name.startswith(NGRAM_PREFIX)
    return int(name.removeprefix(NGRAM_PREFIX)) if is_floor else 0
