"""A profile as a page: what quality costs, and speed, memory, parameters and loading by model."""

from collections.abc import Callable, Sequence

from sentinel_research.bench.show import lines_of
from sentinel_research.cost.measure import REFERENCE
from sentinel_research.cost.schema import PhaseCost
from sentinel_research.profiling.schema import Profiled, ProfileReport
from sentinel_research.profiling.show import (
    between_table,
    conditions,
    looks_table,
    module_tables,
    sizes_table,
    speeds_table,
    verdict,
)
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.document import Document, Section
from sentinel_research.reporting.estimates import DENSE
from sentinel_research.reporting.plots import Place, RowOf, Spread, draw_front, draw_rows
from sentinel_research.timing import Median

SYNTHETIC = "synthetic"
"""The corpus of the made-up language."""
_MEGA = 1e6
_MILLI = 1e3
_NO_TEXT = (
    "Not drawn: quality was not measured. Add --corpus NAME (sentinel ls corpora): its test split "
    "gives every model's loss beside its speed."
)
_ALONE = "Not drawn: one model has nothing to be traded for. Add --prune head=0.5."
_NO_MEMORY = "Not drawn: memory and loading were not measured. Leave --no-memory out."
_FRONT = (
    "Loss is more than the dense model's, on text that no choice has seen, with its interval over "
    "sequences; times are medians with their intervals. The front joins what no other model beats "
    "in both, by values and not by intervals."
)


def profile_page(report: ProfileReport) -> Document:
    """Everything that `sentinel profile` measured.

    Args:
        report: Parts that are not there yet are left out.
    """
    sections: list[Section] = []
    is_synthetic = report.spec.corpus == SYNTHETIC
    if report.prunings is not None:
        sections.append(_models("Prunings", "prunings", report.prunings, is_synthetic))
    for number, levels in enumerate(report.levels or ()):
        title = f"Optimisation levels of {levels.combination.name}"
        own = _models(title, f"levels{number}", levels.rows, is_synthetic)
        table = between_table(levels.between)
        own = own._replace(
            parts=(*own.parts, Part("between", "Levels beside level 0", table, None, (), "", None))
        )
        sections.append(own)
    if report.integration is not None:
        sections.append(
            _models("Integration points", "integration", report.integration, is_synthetic)
        )
    if report.attention is not None:
        sections.append(Section("Attention", tuple(lines_of(report.attention)), ()))
    if report.target is not None and report.spec.target is not None:
        table = looks_table(report.target, report.spec.target)
        loss = f"Loss in the search: {report.target.measure}, more than the dense model."
        notes = (verdict(report), loss)
        part = Part("looks", "Combinations", table, None, (), "", None)
        sections.append(Section("Target", notes, (part,)))
    advice = report.recommendations or ("None: no interval of a ratio excludes 1.",)
    sections.append(Section("Recommendations", tuple(advice), ()))
    return Document(
        kicker="profile",
        name=f"Profile of {report.spec.model}",
        description="",
        synthetic_data=is_synthetic,
        problems=(),
        verdict=f"Measured: {', '.join(one.title.lower() for one in sections[:-1]) or 'nothing'}.",
        facts=(
            ("device", report.spec.device),
            ("type of weights", report.spec.dtype),
            ("corpus", report.spec.corpus or "none"),
            ("rounds", str(report.spec.cost.num_repetitions)),
            ("seed", str(report.spec.cost.seed)),
        ),
        sections=tuple(sections),
        source="Every number at full precision is in profile.json beside this file.",
    )


def _models(title: str, key: str, rows: Sequence[Profiled], is_synthetic: bool) -> Section:
    """The figures and tables of models that were measured in turns."""
    parts = [
        Part("sizes", "Sizes", sizes_table(rows), None, (), "", None),
        Part("speeds", "Speeds", speeds_table(rows), None, (), "", None),
        *(
            _front(f"{key}_{phase}_{name}", f"{words} ({phase})", phase, unit, rows, cost,
                   is_synthetic)
            for phase in ("prefill", "decode")
            for name, words, unit, cost in (
                ("latency", "Quality against measured time", "ms", _milliseconds),
                ("flops", "Quality against operations", "MFLOPs", _operations),
            )
        ),
        _speed_ups(key, rows),
        _rows(key, "parameters", "Parameters", "parameters, M", _parameters(rows), ""),
        _rows(key, "memory", "Memory", "MB", _memory(rows), ""),
        _rows(key, "loading", "Loading", "seconds until every weight is read",
              _loading(rows), _NO_MEMORY),
        *(Part("modules", name, table, None, (), "", None) for name, table in module_tables(rows)),
    ]  # fmt: skip
    return Section(title, (conditions(rows[0].cost),), tuple(parts))


def _spread(one: Median, scale: float = 1.0) -> Spread:
    return Spread(scale * one.median, scale * one.low, scale * one.high)


def _arm(name: str) -> str:
    return DENSE if name == REFERENCE else name


def _phase(row: Profiled, name: str) -> PhaseCost | None:
    return next((one for one in row.cost.phases if one.phase == name), None)


def _milliseconds(phase: PhaseCost) -> Spread:
    return _spread(phase.wall_seconds, _MILLI)


def _operations(phase: PhaseCost) -> Spread:
    return Spread(phase.flops / _MEGA)


def _front(
    key: str,
    title: str,
    phase: str,
    unit: str,
    rows: Sequence[Profiled],
    cost: Callable[[PhaseCost], Spread],
    is_synthetic: bool,
) -> Part:
    places = []
    for row in rows:
        found = _phase(row, phase)
        if row.quality is not None and found is not None:
            loss = Spread(row.quality.loss, row.quality.low, row.quality.high)
            places.append(Place(_arm(row.cost.name), row.cost.name, cost(found), loss))
    if len(places) < 2:
        absent = _NO_TEXT if any(row.quality is None for row in rows) else _ALONE
        return Part(key, title, None, None, (), absent, None)
    figure = draw_front(
        places,
        name=key,
        title=title,
        cost=f"{phase}, {unit}",
        quality="loss, nats per token",
        higher_is_better=False,
        synthetic_data=is_synthetic,
    )
    measure = next(row.quality.measure for row in rows if row.quality is not None)
    return Part(
        key, title, None, figure, (f"{measure[0].upper()}{measure[1:]}. {_FRONT}",), "", places
    )


def _speed_ups(key: str, rows: Sequence[Profiled]) -> Part:
    found = []
    for row in rows:
        for phase in row.cost.phases:
            speed_up = phase.speed_up(row.cost.clock)
            name = f"{row.cost.name}, {phase.phase.replace('_', ' ')}, batch {phase.batch_size}"
            if speed_up is not None:
                found.append(RowOf(name, "measured", _spread(speed_up)))
            if phase.bound is not None:
                found.append(RowOf(name, "arithmetic allows", Spread(phase.bound.speed_up)))
    return _rows(key, "speed", "Times as fast as the dense model", "times as fast", found,
                 _ALONE, reference=1.0)  # fmt: skip


def _parameters(rows: Sequence[Profiled]) -> list[RowOf]:
    return [
        RowOf(row.cost.name, arm, Spread(number / _MEGA))
        for row in rows
        for arm, number in (
            ("all", row.cost.parameters.total),
            ("outside embeddings", row.cost.parameters.non_embedding),
        )
    ]


def _memory(rows: Sequence[Profiled]) -> list[RowOf]:
    found = []
    for row in rows:
        weights = Spread(row.cost.storage.weights_bytes / _MEGA)
        found.append(RowOf(row.cost.name, "weights", weights))
        if row.cost.fresh is not None:
            peak = Spread((row.cost.fresh.peak_bytes - row.cost.fresh.before_bytes) / _MEGA)
            found.append(RowOf(row.cost.name, "peak over the empty process", peak))
    return found


def _loading(rows: Sequence[Profiled]) -> list[RowOf]:
    return [
        RowOf(row.cost.name, "loading", _spread(row.cost.fresh.load_seconds))
        for row in rows
        if row.cost.fresh is not None
    ]


def _rows(
    key: str,
    name: str,
    title: str,
    across: str,
    rows: Sequence[RowOf],
    absent: str,
    reference: float | None = None,
) -> Part:
    if not rows:
        return Part(name, title, None, None, (), absent, None)
    figure = draw_rows(
        rows,
        name=f"{key}_{name}",
        title=title,
        across=across,
        synthetic_data=False,
        reference=reference,
    )
    return Part(name, title, None, figure, (), "", list(rows))
