"""The page of a benchmark: every model on every dataset, beside each other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.downstream_command.run import Outcome as FineTuned
from sentinel_research.mamba_vs_bk.models import chosen
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.mamba_vs_bk.schema import Failure, ModelResult, MultiDatasetResult
from sentinel_research.record import RunRecord
from sentinel_research.reporting.architectures import compare_on_tasks
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.document import Document, Section
from sentinel_research.reporting.downstream import compare_downstream
from sentinel_research.reporting.numbers import number, quantity
from sentinel_research.reporting.plots import RowOf, Spread, draw_rows
from sentinel_research.reporting.tables import Cell, Table

_COST_NOTE = (
    "Means over seeds, peaks the largest of them. Seconds are wall time, validation and "
    "checkpoints included; operations are those of one training step, forward and backward, "
    "counted by torch; peak memory is of the whole process, or of the GPU. The JSON files say what "
    "every field means."
)
_OVER_NOTE = (
    "Bits per byte do not depend on what cuts text into tokens. Bars are 95% intervals over seeds; "
    "every dataset has models of its own."
)
_FEW = "Not drawn: fewer than two datasets were measured."
_NONE = Cell("-", kind="number")


class Measured(NamedTuple):
    """What a benchmark measured on a dataset."""

    results: dict[str, ModelResult]
    """By model."""
    record: RunRecord
    folder: Path
    """Of the run, inside the output folder."""


def benchmark_page(
    request: BenchmarkRequest,
    measured: Mapping[str, Measured],
    over: Sequence[MultiDatasetResult],
    tuned: Mapping[str, FineTuned],
    failures: Sequence[Failure],
) -> Document:
    """Everything that a benchmark found.

    Args:
        request: The flags.
        measured: By dataset; without those that could not begin.
        over: Every model over all datasets; empty without `multi_dataset`.
        tuned: Fine-tunings by dataset.
        failures: Everything that was asked for and not measured.
    """
    results = [one for found in measured.values() for one in found.results.values()]
    synthetic = dict.fromkeys(one.dataset for one in results if one.synthetic_data)
    runs = sum(len(one.runs) for one in results)
    models = chosen(request.model)
    asked = len(request.dataset_names) * len(request.all_seeds) * len(models)
    sections = [Section("What they cost", (), (_costs(results),))]
    if over:
        sections.insert(0, Section("Over datasets", (), (_over(over, bool(synthetic)),)))
    for dataset, found in measured.items():
        title = f"On {dataset}{' (synthetic data)' if dataset in synthetic else ''}"
        sections.append(Section(title, (), compare_on_tasks(found.record)))
    for dataset, outcome in tuned.items():
        title = f"Fine-tuned, after {dataset}"
        parts = _of(dataset, compare_downstream(outcome.record))
        sections.append(Section(title, (), tuple(parts)))
    folders = {dataset: found.folder for dataset, found in measured.items()}
    folders |= {f"{dataset}, fine-tuned": outcome.folder for dataset, outcome in tuned.items()}
    return Document(
        kicker="benchmark of architectures",
        name=f"{', '.join(models)} on {', '.join(request.dataset_names)}",
        description="",
        # of a mixture each part is marked alone
        synthetic_data=bool(results) and len(synthetic) == len(measured),
        problems=tuple(
            f"{one.dataset}{f', {one.cell}' if one.cell else ''}: {one.error}" for one in failures
        ),
        verdict=f"{runs:,} of {quantity(asked, 'model')} trained and measured.",
        facts=tuple(_facts(request, results)),
        sections=tuple(sections),
        source="Every number at full precision is in the JSON files beside this one, every "
        "measurement in the records of the runs.",
        links=tuple(
            (f"report of {name}", (folder / "report.html").as_posix())
            for name, folder in folders.items()
        ),
    )


def _facts(request: BenchmarkRequest, results: Sequence[ModelResult]) -> Iterator[tuple[str, str]]:
    yield "tokens of a sequence", f"{request.seq_len:,}"
    yield "bits", str(request.bits)
    yield "equal", request.match
    yield "seeds", ", ".join(map(str, request.all_seeds))
    devices = dict.fromkeys(str(one.provenance["device"]) for one in results)
    yield "device", ", ".join(devices) or "-"


def _of(dataset: str, parts: Sequence[Part]) -> Iterator[Part]:
    """Parts under keys that other datasets do not have."""
    for part in parts:
        yield part._replace(key=f"{dataset}-{part.key}")


def _count(value: float | None) -> Cell:
    return _NONE if value is None else Cell(number(value), str(value), "number")


def _costs(results: Sequence[ModelResult]) -> Part:
    headers = (
        "dataset",
        "model",
        "seeds",
        "seconds",
        "operations a step",
        "peak MiB",
        "stored MiB",
    )
    shown = ("training_time", "total_flops", "peak_memory_mb", "model_size_mb")
    rows = tuple(
        (
            Cell(one.dataset),
            Cell(one.model_name),
            Cell(str(len(one.runs)), kind="number"),
            *(_count(getattr(one, name)) for name in shown),
        )
        for one in results
    )
    numbers: list[dict[str, Any]] = [
        {name: getattr(one, name) for name in ("dataset", "model_name", *shown)} for one in results
    ]
    return Part("costs", "Training", Table(headers, rows), None, (_COST_NOTE,), "", numbers)


def _over(over: Sequence[MultiDatasetResult], is_synthetic: bool) -> Part:
    found = [
        RowOf(dataset, one.model_name, Spread(of["bits_per_byte"].mean,
              of["bits_per_byte"].low, of["bits_per_byte"].high))
        for one in over
        for dataset, of in one.per_dataset.items()
    ]  # fmt: skip
    headers = ("model", "datasets", "bits per byte, mean", "perplexity, geometric mean")
    table = Table(
        headers,
        tuple(
            (
                Cell(one.model_name),
                Cell(f"{len(one.per_dataset)} of {len(one.datasets)}", kind="number"),
                _count(one.mean_bits_per_byte),
                _count(one.geometric_mean_perplexity),
            )
            for one in over
        ),
    )
    figure = None
    if len({row.label for row in found}) > 1:
        figure = draw_rows(
            found,
            name="datasets",
            title="Test bits per byte, dataset by dataset",
            across="bits per byte (lower is better)",
            synthetic_data=is_synthetic,
        )
    absent = "" if figure else _FEW
    return Part("datasets", "Every dataset", table, figure, (_OVER_NOTE,), absent, found)
