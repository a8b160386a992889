"""From records and times to the points of the file: every metric of every arm."""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sentinel_research.compare_agency.recipes import Kind
from sentinel_research.compare_agency.schema import Point
from sentinel_research.compare_agency.times import Times
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.generation.results import HUMAN, TESTED
from sentinel_research.statistics import mean_interval

HIGHER_IS_BETTER = {
    "perplexity": False,
    "first_token_ms": False,
    "tokens_per_second": True,
    "distinct-1": True,
    "distinct-2": True,
    "seq-rep-4": False,
    "self-bleu": False,
    "weights_mb": False,
    "writing_mb": False,
}
"""Of every metric of the file. That varied text is better is what was claimed: human text is the
reference, and neither above nor below it is."""
PERPLEXITY = "perplexity"
RUNS = "runs"
_MIB = 1 << 20


class Key(NamedTuple):
    """What a value is of."""

    arm: str
    level: float
    metric: str
    temperature: float | None


class Source(NamedTuple):
    """One record."""

    kind: Kind
    iteration: int
    temperature: float


def folder_of(source: Source) -> str:
    """The run folder of a record below the comparison's own."""
    return f"{RUNS}/{source.kind}-{source.iteration}-t{source.temperature:g}"


Values = dict[Key, dict[int, float]]
"""By iteration."""


def values_of(records: dict[Source, RunRecord], times: dict[int, Times]) -> Values:
    """Everything that was measured.

    Args:
        records: Of all models, iterations and temperatures that there are.
        times: By iteration.
    """
    found: Values = {}
    for source, record in records.items():
        for key, value in _of_record(source, record):
            found.setdefault(key, {})[source.iteration] = value
    for iteration, measured in times.items():
        for key, value in _of_times(measured):
            found.setdefault(key, {})[iteration] = value
    return found


def points_of(values: Values, iterations: int) -> tuple[Point, ...]:
    """The points that were measured in every iteration.

    Args:
        values: All of them.
        iterations: How many there must be.
    """
    return tuple(
        _point(key, [own[index] for index in sorted(own)])
        for key, own in values.items()
        if len(own) == iterations
    )


def arm_of(kind: Kind, cell: CellRecord) -> tuple[str, float]:
    """The arm and the percent of heads that a cell is about.

    Args:
        kind: Its run's model.
        cell: Of a measuring recipe.
    """
    if cell.prune_spec is None:
        return ("dense" if kind == "plain" else "agency"), 0.0
    return cell.prune_spec["variant"], round(100 * cell.prune_spec["fraction"], 6)


def _of_record(source: Source, record: RunRecord) -> Iterator[tuple[Key, float]]:
    task = record.recipe["evaluate"]["tasks"][0]
    for cell in record.cells:
        if cell.status != "done" or cell.evaluation is None:
            continue
        arm, level = arm_of(source.kind, cell)
        perplexity = cell.evaluation.measurement(task, "token_perplexity").value
        yield Key(arm, level, PERPLEXITY, None), perplexity
        written = cell.evaluation.generation or {}
        for name, report in (("quality", arm), ("human", HUMAN)):
            if name == "human" and arm != "dense":
                continue
            for metric in TESTED:
                value = (written.get(name) or {}).get(metric, {}).get("value")
                if value is not None:
                    yield Key(report, level, metric, source.temperature), value


def _of_times(times: Times) -> Iterator[tuple[Key, float]]:
    for one in times.arms:
        first = statistics.median(wall for wall, _ in one.first_token_seconds)
        rest = statistics.median(wall for wall, _ in one.decoding_seconds)
        figures = {
            "first_token_ms": 1000 * first,
            "tokens_per_second": one.num_decoded / rest,
            "weights_mb": one.weights_bytes / _MIB,
        }
        if one.writing_bytes is not None:
            figures["writing_mb"] = one.writing_bytes / _MIB
        for metric, value in figures.items():
            yield Key(one.arm, one.level, metric, None), value


def _point(key: Key, values: Sequence[float]) -> Point:
    interval = mean_interval(values) if len(values) > 1 else None
    return Point(
        **key._asdict(),
        values=tuple(values),
        mean=statistics.fmean(values),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
    )
