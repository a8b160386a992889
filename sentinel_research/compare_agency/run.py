"""Run a comparison, iteration by iteration, and write its files; the same request goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentinel_research import distributed
from sentinel_research.compare_agency.points import RUNS, Source, folder_of
from sentinel_research.compare_agency.recipes import (
    ARMS,
    KINDS,
    Kind,
    check_request,
    measuring_recipe,
    training_recipe,
)
from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.compare_agency.results import gather
from sentinel_research.compare_agency.schema import AgencyResults
from sentinel_research.compare_agency.speed import measure_times
from sentinel_research.compare_agency.times import Times
from sentinel_research.compare_agency.write import write_files
from sentinel_research.errors import CheckFailedError
from sentinel_research.files import create_folder
from sentinel_research.pipeline import run
from sentinel_research.progress import Progress, Silent
from sentinel_research.record import RunRecord
from sentinel_research.reporting.numbers import quantity
from sentinel_research.specs import Recipe
from sentinel_research.trained import MODEL_FOLDER


class Outcome(NamedTuple):
    """What a comparison left."""

    results: AgencyResults
    """What was measured and tested."""
    files: tuple[Path, ...]
    """The JSON file first, then Markdown and figures."""


def run_comparison(
    request: AgencyComparisonRequest, *, progress: Progress | None = None
) -> Outcome:
    """Measure what a request asks for, or go on with it.

    Args:
        request: The flags.
        progress: Who is told about progress.

    Returns:
        The results. An arm that failed is listed in them, the others still run.

    Raises:
        UsageError: for a request that cannot be carried out.
        DataError, CheckpointError: if text or model cannot be had.
    """
    check_request(request)
    distributed.refuse_several("the comparison of agency", "start it without a launcher")
    create_folder(request.folder)
    progress = progress or Silent()
    records: dict[Source, RunRecord] = {}
    times: dict[int, Times] = {}
    for iteration in range(request.iterations):
        trained = {kind: _trained(request, kind, iteration, progress) for kind in KINDS}
        for temperature in request.temperatures:
            for kind in KINDS:
                recipe = measuring_recipe(request, kind, iteration, temperature, trained[kind])
                source = Source(kind, iteration, temperature)
                records[source] = _run(recipe, request.folder / folder_of(source), progress)
        first = request.temperatures[0]
        recipes = {
            kind: measuring_recipe(request, kind, iteration, first, trained[kind]) for kind in KINDS
        }
        path = create_folder(request.folder / "times") / f"{iteration}.json"
        times[iteration] = measure_times(request, recipes, path, progress)
    results = gather(request, records, times)
    return Outcome(results, write_files(request, results, records))


def planned(request: AgencyComparisonRequest) -> Iterator[str]:
    """What would be done, in words.

    Args:
        request: Checked.
    """
    what = "a small GPT-2, trained here" if request.is_trained else str(request.model_name)
    levels = ", ".join(f"{level:g}" for level in request.levels)
    yield f"{what} on {request.corpus}, heads by {request.pruning_method}: {levels} percent"
    yield f"arms: dense, {', '.join(ARMS)}"
    runs = 2 * request.iterations * len(request.temperatures)
    cells = request.iterations * len(request.temperatures) * (2 + len(ARMS) * len(request.levels))
    yield f"{runs} runs of {cells} models: {quantity(request.iterations, 'iteration')}"
    if request.is_trained:
        yield f"{2 * request.iterations} trainings of {request.learning_steps:,} steps"
    yield f"output: {request.folder}"


def _trained(
    request: AgencyComparisonRequest, kind: Kind, iteration: int, progress: Progress
) -> Path | None:
    """The checkpoint of the default model; None where the request names a model."""
    if not request.is_trained:
        return None
    folder = request.folder / RUNS / f"train-{kind}-{iteration}"
    record = _run(training_recipe(request, kind, iteration), folder, progress)
    record.require_sound()
    return folder / MODEL_FOLDER


def _run(recipe: Recipe, folder: Path, progress: Progress) -> RunRecord:
    try:
        return run(recipe, folder, progress=progress)
    except CheckFailedError:
        # the record is complete, and the failed check goes with its numbers into the file
        return RunRecord.read(folder)
