"""Run what a request asks for through the pipeline, and write its files."""

from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.downstream_command.recipes import downstream_recipe
from sentinel_research.downstream_command.request import DownstreamRequest
from sentinel_research.downstream_command.results import downstream_result, file_name
from sentinel_research.errors import CheckFailedError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.pipeline import default_folder, run
from sentinel_research.progress import Progress
from sentinel_research.record import RunRecord
from sentinel_research.specs import Recipe


class Outcome(NamedTuple):
    """What a downstream run left."""

    record: RunRecord
    """The run."""
    files: tuple[Path, ...]
    """One JSON file for each model."""
    folder: Path
    """Of the run, inside the output folder."""


def run_downstream_request(
    request: DownstreamRequest, *, progress: Progress | None = None
) -> Outcome:
    """Fine-tune and measure what a request asks for, or go on with it.

    Args:
        request: The flags.
        progress: Who is told about progress.

    Raises:
        UsageError: for a request that cannot be carried out.
        DataError, CheckpointError: if data or a model cannot be had.
        CheckFailedError: if a check on the results failed; record and files are complete.
    """
    recipe = downstream_recipe(request)
    create_folder(request.output_dir)
    return run_and_write(recipe, request.output_dir, request.model_dump(mode="json"), progress)


def run_and_write(
    recipe: Recipe, output_dir: Path, config: dict[str, Any], progress: Progress | None
) -> Outcome:
    """Run a downstream recipe in a folder, and write the file of every model there.

    Args:
        recipe: With `downstream`.
        output_dir: Gets the files; the run is in `runs` in it.
        config: Every flag, for the files.
        progress: Who is told about progress.

    Raises:
        SentinelError: see `run_downstream_request`.
    """
    inside = default_folder(recipe)
    try:
        record = run(recipe, output_dir / inside, progress=progress)
    except CheckFailedError:
        _write(RunRecord.read(output_dir / inside), output_dir, inside, config)
        raise
    return Outcome(record, _write(record, output_dir, inside, config), inside)


def _write(
    record: RunRecord, output_dir: Path, inside: Path, config: dict[str, Any]
) -> tuple[Path, ...]:
    files = []
    for model in record.recipe["downstream"]["models"]:
        result = downstream_result(model, record, inside, config)
        files.append(output_dir / file_name(model))
        write_atomically(files[-1], result.model_dump_json(indent=2) + "\n")
    return tuple(files)
