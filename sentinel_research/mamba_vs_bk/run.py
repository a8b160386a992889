"""Run the benchmark dataset by dataset, and write its files and its page; the same goes on."""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research import distributed
from sentinel_research.downstream_command.run import Outcome as FineTuned
from sentinel_research.errors import CheckFailedError, SentinelError, UsageError
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.mamba_vs_bk.downstream import check_downstream, fine_tune_models
from sentinel_research.mamba_vs_bk.models import chosen
from sentinel_research.mamba_vs_bk.page import Measured, benchmark_page
from sentinel_research.mamba_vs_bk.recipes import check_request, dataset_recipe
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.mamba_vs_bk.results import failures_of, file_name, model_result, spread
from sentinel_research.mamba_vs_bk.schema import (
    MULTI_DEFINITIONS,
    RESULT_VERSION,
    Failure,
    ModelResult,
    MultiDatasetResult,
)
from sentinel_research.pipeline import default_folder, run
from sentinel_research.progress import Progress, Silent
from sentinel_research.record import RunRecord
from sentinel_research.reporting import report_document


class Outcome(NamedTuple):
    """What a benchmark left."""

    files: tuple[Path, ...]
    """The JSON files of models, in the order they were written; `report.html` is beside them."""
    records: dict[str, RunRecord]
    """By dataset; without those that could not begin."""
    failures: tuple[Failure, ...]
    """Everything that was asked for and not measured."""


def run_benchmark(request: BenchmarkRequest, *, progress: Progress | None = None) -> Outcome:
    """Train and measure what a request asks for, or go on with it.

    Args:
        request: The flags.
        progress: Who is told about progress.

    Returns:
        The files. A model or a dataset that failed is listed in them, the others still run.

    Raises:
        UsageError: for a request that cannot be carried out.
        SentinelError: if the only dataset of the request failed as a whole.
    """
    check_request(request)
    if request.downstream:
        check_downstream(request)
    distributed.refuse_several("the benchmark", "start it without a launcher")
    create_folder(request.output_dir)
    found = _Found({}, {}, [], [])
    progress = progress or Silent()
    over = []
    for dataset in request.dataset_names:
        try:
            _add_dataset(found, request, dataset, progress)
        except UsageError:
            raise
        except SentinelError as error:
            if not request.multi_dataset:
                raise
            found.failures.append(Failure(dataset=dataset, cell=None, error=str(error)))
    if request.multi_dataset:
        for model in chosen(request.model):
            own = {dataset: of.results[model] for dataset, of in found.measured.items()}
            over.append(_multi(request, model, own, found.failures))
            found.files.append(_write(request, f"{model}_multi_dataset.json", over[-1]))
    page = benchmark_page(request, found.measured, over, found.tuned, found.failures)
    progress.say(f"report: {report_document(page, request.output_dir).html}")
    return Outcome(tuple(found.files), found.records(), tuple(found.failures))


class _Found(NamedTuple):
    """What a benchmark has so far."""

    measured: dict[str, Measured]
    """By dataset."""
    tuned: dict[str, FineTuned]
    """By dataset."""
    files: list[Path]
    failures: list[Failure]

    def records(self) -> dict[str, RunRecord]:
        """Every run, in the order in which they ran."""
        records = {}
        for dataset, found in self.measured.items():
            records[dataset] = found.record
            if dataset in self.tuned:
                records[f"{dataset}, fine-tuned"] = self.tuned[dataset].record
        return records


def _add_dataset(
    found: _Found, request: BenchmarkRequest, dataset: str, progress: Progress
) -> None:
    record, folder = _run_dataset(request, dataset, progress)
    found.failures.extend(failures_of(record, dataset))
    results = {
        model: model_result(request, dataset, model, record, folder)
        for model in chosen(request.model)
    }
    found.measured[dataset] = Measured(results, record, folder.relative_to(request.output_dir))
    for model, result in results.items():
        found.files.append(_write(request, file_name(model, dataset, request), result))
    if request.downstream:
        outcome, failed = fine_tune_models(request, dataset, record, folder, progress)
        found.failures.extend(failed)
        if outcome is not None:
            found.files.extend(outcome.files)
            found.tuned[dataset] = outcome


def _run_dataset(
    request: BenchmarkRequest, dataset: str, progress: Progress
) -> tuple[RunRecord, Path]:
    recipe = dataset_recipe(request, dataset)
    folder = request.output_dir / default_folder(recipe)
    try:
        return run(recipe, folder, progress=progress), folder
    except CheckFailedError:
        # the record is complete, and the failed check goes with its numbers into the files
        return RunRecord.read(folder), folder


def _write(request: BenchmarkRequest, name: str, result: ModelResult | MultiDatasetResult) -> Path:
    path = request.output_dir / name
    write_atomically(path, result.model_dump_json(indent=2) + "\n")
    return path


def _multi(
    request: BenchmarkRequest,
    model: str,
    results: dict[str, ModelResult],
    failures: list[Failure],
) -> MultiDatasetResult:
    """The file of one model over all datasets; those without a figure are listed, not counted."""
    runs = {dataset: one.runs for dataset, one in results.items() if one.runs}
    per_dataset = {
        dataset: {
            "perplexity": spread([one.test["token_perplexity"] for one in of]),
            "bits_per_byte": spread([one.test["bits_per_byte"] for one in of]),
        }
        for dataset, of in runs.items()
    }
    perplexities = {dataset: one["perplexity"].mean for dataset, one in per_dataset.items()}
    bits = [one["bits_per_byte"].mean for one in per_dataset.values()]
    own = [one for dataset in results for one in results[dataset].failed]
    failed = [*(one for one in failures if one.dataset not in results), *own]
    values = list(perplexities.values())
    reasons = {
        dataset: "no model of it was trained and measured"
        for dataset in request.dataset_names
        if dataset not in per_dataset
    }
    return MultiDatasetResult(
        model_name=model,
        datasets=list(request.dataset_names),
        perplexities=perplexities,
        mean_perplexity=statistics.fmean(values) if values else None,
        std_perplexity=statistics.pstdev(values) if values else None,
        schema_version=RESULT_VERSION,
        status="failed" if failed or reasons else "done",
        geometric_mean_perplexity=statistics.geometric_mean(values) if values else None,
        mean_bits_per_byte=statistics.fmean(bits) if bits else None,
        per_dataset=per_dataset,
        files={dataset: file_name(model, dataset, request) for dataset in results},
        seeds=list(request.all_seeds),
        failed=failed,
        not_measured=reasons,
        config=request.model_dump(mode="json"),
        definitions=MULTI_DEFINITIONS,
        provenance={dataset: _short(one.provenance) for dataset, one in results.items()},
    )


def _short(provenance: dict[str, Any]) -> dict[str, Any]:
    """What identifies a run; the rest is in the dataset's own file."""
    return {key: provenance[key] for key in ("commit", "dirty", "record", "recipe_fingerprint")}
