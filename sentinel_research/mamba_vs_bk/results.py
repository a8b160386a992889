"""From the record of a run to the benchmark's file of each model."""

import statistics
from pathlib import Path
from typing import Any

from sentinel_research.mamba_vs_bk.figures import MIB, seed_result, split_figures
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.mamba_vs_bk.schema import (
    DEFINITIONS,
    RESULT_VERSION,
    Failure,
    Figures,
    ModelResult,
    SeedResult,
    Spread,
)
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.architectures.results import cells_of
from sentinel_research.specs.compare import NGRAM_PREFIX
from sentinel_research.statistics import mean_interval

_SCALARS = ("final_loss", "final_perplexity", "best_perplexity", "training_time")


def file_name(model: str, dataset: str, request: BenchmarkRequest) -> str:
    """The published name of a model's file on one dataset."""
    return f"{model}_{dataset}_seq{request.seq_len}_bits{request.bits}.json"


def failures_of(record: RunRecord, dataset: str) -> list[Failure]:
    """Every cell of a run that failed, and every check that did not hold.

    Args:
        record: Of one dataset.
        dataset: Its name.
    """
    failures = [
        Failure(dataset=dataset, cell=cell.id, error=cell.error or f"status {cell.status}")
        for cell in record.cells
        if cell.status != "done"
    ]
    return failures + [
        Failure(dataset=dataset, cell=None, error=f"check failed: {check.name}: {check.detail}")
        for check in record.failed_checks()
    ]


def model_result(
    request: BenchmarkRequest, dataset: str, model: str, record: RunRecord, folder: Path
) -> ModelResult:
    """The content of a model's file.

    Args:
        request: What was asked for.
        dataset: The dataset of the run.
        model: One of its models.
        record: The run's record, finished.
        folder: Of the run, inside `request.output_dir`.
    """
    cells = cells_of(record, model)
    measured = [cell for cell in cells if cell.evaluation is not None and cell.train is not None]
    runs = [seed_result(cell, request.batch_size) for cell in measured]
    failed = [one for one in failures_of(record, dataset) if _concerns(one, model, record)]
    reports = [cell.train for cell in measured if cell.train is not None]
    flops = reports[0]["flops_per_step"] if reports else {}
    total = flops["forward"] + flops["backward"] if flops else None
    test = _mean_figures([run.test for run in runs])
    peaks = [run.peak_memory_mb for run in runs if run.peak_memory_mb is not None]
    return ModelResult(
        model_name=model,
        dataset=dataset,
        seq_len=request.seq_len,
        bits=request.bits,
        **{name: _mean([getattr(run, name) for run in runs]) for name in _SCALARS},
        forward_flops=flops.get("forward"),
        backward_flops=flops.get("backward"),
        total_flops=total,
        peak_memory_mb=max(peaks, default=None),
        model_size_mb=reports[0]["stored_bytes"] / MIB if reports else None,
        epoch_losses=_mean_lists([run.epoch_losses for run in runs]),
        epoch_perplexities=_mean_lists([run.epoch_perplexities for run in runs]),
        config=_config(request, record, model),
        schema_version=RESULT_VERSION,
        status="failed" if failed or not runs else "done",
        synthetic_data=record.synthetic_data,
        validation=_mean_figures([run.validation for run in runs]),
        test=test,
        bits_per_byte=None if test is None else test["bits_per_byte"],
        intervals=_intervals(runs),
        seeds=[run.seed for run in runs],
        runs=runs,
        floors=_floors(record),
        failed=failed,
        not_measured=_not_measured(cells, runs, reports),
        definitions=DEFINITIONS,
        provenance=provenance(record, request, folder),
    )


def spread(values: list[float]) -> Spread:
    """A figure over seeds, at least one."""
    several = len(values) > 1
    interval = mean_interval(values) if several else None
    return Spread(
        mean=statistics.fmean(values),
        num_seeds=len(values),
        sd=statistics.stdev(values) if several else None,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
    )


def provenance(record: RunRecord, request: BenchmarkRequest, folder: Path) -> dict[str, Any]:
    """Where the numbers of a run come from."""
    git = record.environment["git"]
    return {
        "commit": git["commit"],
        "dirty": git["dirty"],
        "packages": record.environment["packages"],
        "device": record.environment["device"],
        "record": str(folder.relative_to(request.output_dir) / "record.json"),
        "recipe_fingerprint": record.recipe_fingerprint,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "datasets": record.datasets,
    }


def _concerns(failure: Failure, model: str, record: RunRecord) -> bool:
    """Whether a failure is the model's own, a floor's, or of the whole run."""
    arm = record.cell(failure.cell).arm if failure.cell is not None else None
    return arm is None or arm.name == model or arm.name.startswith(NGRAM_PREFIX)


def _config(request: BenchmarkRequest, record: RunRecord, model: str) -> dict[str, Any]:
    matched = ((record.comparison or {}).get("models") or {}).get(model, {})
    is_bytes = request.tokenizer == "bytes"
    return {
        **request.model_dump(mode="json"),
        # a search does not read the default; `runs` name what it chose
        **({"lr": None} if request.tune is not None else {}),
        "token": "a byte of UTF-8" if is_bytes else f"a token of {request.tokenizer}",
        "precision": record.recipe["train"]["precision"],
        "num_steps_planned": record.recipe["train"]["num_steps"],
        "matched": matched,
    }


def _floors(record: RunRecord) -> dict[str, dict[str, Figures]]:
    floors = {}
    for cell in record.cells:
        name = cell.arm.name if cell.arm is not None else ""
        if not name.startswith(NGRAM_PREFIX) or cell.evaluation is None or cell.train is None:
            continue
        validation = split_figures(cell.evaluation, "validation")
        floors[name] = {
            "validation": {"loss": cell.train["validation_loss"], **validation},
            "test": split_figures(cell.evaluation, "test"),
        }
    return floors


def _intervals(runs: list[SeedResult]) -> dict[str, Spread] | None:
    if len(runs) < 2:
        return None
    found = {name: spread([getattr(run, name) for run in runs]) for name in _SCALARS}
    for split in ("validation", "test"):
        for metric in getattr(runs[0], split):
            found[f"{split}_{metric}"] = spread([getattr(run, split)[metric] for run in runs])
    return found


def _not_measured(
    cells: list[CellRecord], runs: list[SeedResult], reports: list[dict[str, Any]]
) -> dict[str, str]:
    if not runs:
        errors = "; ".join(f"{cell.id}: {cell.error or cell.status}" for cell in cells)
        return {"all": f"no model was trained and measured ({errors})"}
    reasons = {}
    if len(runs) < 2:
        reasons["intervals"] = "1 seed was measured, an interval needs two"
    if all(run.peak_memory_mb is None for run in runs):
        reasons["peak_memory_mb"] = reports[0]["memory"]["absent"]
    return reasons


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _mean_lists(lists: list[list[float]]) -> list[float] | None:
    return [statistics.fmean(same) for same in zip(*lists, strict=True)] if lists else None


def _mean_figures(figures: list[Figures]) -> Figures | None:
    if not figures:
        return None
    return {name: statistics.fmean(one[name] for one in figures) for name in figures[0]}
