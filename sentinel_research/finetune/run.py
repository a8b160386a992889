"""Run a fine-tuning through the pipeline; the same request goes on."""

from pathlib import Path
from typing import NamedTuple

from sentinel_research.errors import CheckFailedError
from sentinel_research.finetune.figures import write_figures
from sentinel_research.finetune.recipes import check_request, finetune_recipe
from sentinel_research.finetune.request import FinetuneRequest
from sentinel_research.pipeline import default_folder, run
from sentinel_research.progress import Progress
from sentinel_research.record import RunRecord


class Outcome(NamedTuple):
    """What a fine-tuning left."""

    record: RunRecord
    """The run."""
    folder: Path
    """Where its record and its report are."""
    figures: tuple[Path, ...]
    """What `visualize` wrote."""


def run_finetune(request: FinetuneRequest, *, progress: Progress | None = None) -> Outcome:
    """Prune, train and measure what a request asks for, or go on with it.

    Args:
        request: The flags.
        progress: Who is told about progress.

    Returns:
        The record. A model that failed is listed in it, the others still run.

    Raises:
        UsageError: for a request that cannot be carried out.
        DataError, CheckpointError: if text or model cannot be had.
        CheckFailedError: if a check on the results failed; record and figures are complete.
    """
    check_request(request)
    recipe = finetune_recipe(request)
    folder = request.output_dir or default_folder(recipe)
    try:
        record = run(recipe, folder, progress=progress)
    except CheckFailedError:
        _drawn(request, RunRecord.read(folder), folder)
        raise
    return Outcome(record, folder, _drawn(request, record, folder))


def _drawn(request: FinetuneRequest, record: RunRecord, folder: Path) -> tuple[Path, ...]:
    return tuple(write_figures(record, folder)) if request.visualize else ()
