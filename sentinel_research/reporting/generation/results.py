"""What a run measured on written text, and how each model differs from the dense one."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sentinel_research.paired import PairedTest, paired_test
from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import DENSE
from sentinel_research.statistics import holm

HUMAN = "human text"
TESTED = ("distinct-1", "distinct-2", "seq-rep-4", "self-bleu")
"""The metrics that are compared with the dense model's; all others are in the record."""


class Value(NamedTuple):
    """One metric of one model."""

    value: float | None
    stderr: float | None
    """Over prompts; null where there is none."""
    num_continuations: int
    """Those that are long enough to count."""
    reason: str
    """Why there is no value, or no error."""


class Quality(NamedTuple):
    """What one model wrote."""

    model: str
    """Its cell, or `HUMAN`."""
    metrics: dict[str, Value]
    num_continuations: int
    num_ended: int | None
    """Continuations that an end token ended; null for human text, which was cut."""


class Difference(NamedTuple):
    """One model less the dense one, paired by prompt."""

    model: str
    metric: str
    test: PairedTest | None
    """Null where it could not be tested."""
    p_adjusted: float | None
    """After Holm over all differences of the run."""
    reason: str
    """Why it could not be tested; empty if it was."""


class Speed(NamedTuple):
    """How long one model takes; a timing has `median`, quartiles and `cpu_median`."""

    model: str
    first_token_seconds: dict[str, float]
    decode_seconds_per_token: dict[str, float]
    latency_ratio: float | None
    """Median seconds to the first token, over the dense model's; null without one."""
    decode_speed_ratio: float | None
    """Median tokens per second, over the dense model's; null without one."""
    conditions: dict[str, Any]
    """`prompt_length`, `num_decoded`, `num_timings`, `num_threads`, `dtype`, `device`."""


class Generations(NamedTuple):
    """Everything about written text in a run."""

    quality: tuple[Quality, ...]
    """Human text first."""
    differences: tuple[Difference, ...]
    speed: tuple[Speed, ...]
    examples: tuple[tuple[str, str, str], ...]
    """Beginning of a text, who wrote on, and what."""
    not_measured: dict[str, str]
    """Cell -> why it has nothing."""


def read_generations(record: RunRecord) -> Generations | None:
    """What a run measured on written text; None if it was not asked to.

    Args:
        record: Any run.
    """
    if not (record.recipe.get("evaluate") or {}).get("generation"):
        return None
    reports, absent = {}, {}
    for cell in record.cells:
        report = None if cell.evaluation is None else cell.evaluation.generation
        if report is None:
            absent[cell.id] = "the cell was not measured"
        elif "skipped" in report:
            absent[cell.id] = str(report["skipped"])
        else:
            reports[cell.id] = report
    return Generations(
        quality=tuple(_quality(reports)),
        differences=_differences(reports),
        speed=tuple(_speed(reports)),
        examples=tuple(_examples(reports)),
        not_measured=absent,
    )


def _quality(reports: dict[str, dict[str, Any]]) -> Iterator[Quality]:
    for report in [*reports.values()][:1]:
        human = _values(report["human"])
        yield Quality(HUMAN, human, human["tokens"].num_continuations, None)
    for name, report in reports.items():
        values, number = _values(report["quality"]), report["num_continuations"]
        yield Quality(name, values, number, report["num_ended"])


def _values(metrics: dict[str, dict[str, Any]]) -> dict[str, Value]:
    return {
        name: Value(**{field: one[field] for field in Value._fields})
        for name, one in metrics.items()
    }


def _differences(reports: dict[str, dict[str, Any]]) -> tuple[Difference, ...]:
    dense = reports.get(DENSE)
    if dense is None:
        return ()
    tested = [
        (name, metric, *_test(report, dense, metric))
        for name, report in reports.items()
        if name != DENSE
        for metric in TESTED
    ]
    adjusted = iter(holm([test.p_value for *_, test, _ in tested if test is not None]))
    return tuple(
        Difference(name, metric, test, None if test is None else next(adjusted), reason)
        for name, metric, test, reason in tested
    )


def _test(
    report: dict[str, Any], dense: dict[str, Any], metric: str
) -> tuple[PairedTest | None, str]:
    if report["data"]["prompts_sha256"] != dense["data"]["prompts_sha256"]:
        return None, "other prompts than the dense model's"
    pair = [one["quality"][metric] for one in (report, dense)]
    for one in pair:
        if not one["values"]:
            return None, str(one["reason"])
    first, second = (one["values"] for one in pair)
    test = paired_test(first, second)
    return test, "" if test is not None else "the same difference for every prompt"


def _speed(reports: dict[str, dict[str, Any]]) -> Iterator[Speed]:
    dense = reports.get(DENSE)
    for name, report in reports.items():
        if "speed" not in report:
            continue
        own = report["speed"]
        other = None if dense is None else dense["speed"]
        first, rest = "first_token_seconds", "decode_seconds_per_token"
        yield Speed(
            model=name,
            first_token_seconds=own[first],
            decode_seconds_per_token=own[rest],
            latency_ratio=other and own[first]["median"] / other[first]["median"],
            decode_speed_ratio=other and other[rest]["median"] / own[rest]["median"],
            conditions={key: value for key, value in own.items() if key not in (first, rest)},
        )


def _examples(reports: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    by_model: Sequence[tuple[str, Any]] = [
        (name, report["examples"]) for name, report in reports.items()
    ]
    for index in range(max((len(examples) for _, examples in by_model), default=0)):
        first = by_model[0][1][index]
        yield first["prompt"], HUMAN, first["human"]
        for name, examples in by_model:
            yield first["prompt"], name, examples[index]["continuations"][0]
