"""A profile in Markdown, which is what the terminal shows too."""

from collections.abc import Iterable, Iterator, Sequence

from sentinel_research.bench.show import lines_of
from sentinel_research.cost.schema import CostReport, PhaseCost
from sentinel_research.profiling.run import in_words
from sentinel_research.profiling.schema import Profiled, ProfileReport, TargetPart
from sentinel_research.reporting.render import markdown_table
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.specs.profile import TargetSpec
from sentinel_research.timing import Median

_MEGA = 1e6
_NUM_MODULES = 8


def to_markdown(report: ProfileReport) -> str:
    """All parts of a profile."""
    lines = [f"# Profile of {report.spec.model}", ""]
    if report.prunings is not None:
        lines += ["## Prunings", "", *_models(report.prunings), *_details(report.prunings)]
    for part in report.levels or ():
        differences = ", ".join(f"level {k}: {v:.1e}" for k, v in part.largest_difference.items())
        lines += [f"## Optimisation levels of {part.combination.name}", ""]
        lines += [*_models(part.rows), f"Largest difference of a logit from level 0: {differences}"]
        lines += ["", *_lines(between_table(part.between)), ""]
    if report.integration is not None:
        lines += ["## Integration points", "", *_models(report.integration)]
    if report.attention is not None:
        lines += ["## Attention", "", *(f"- {one}" for one in lines_of(report.attention)), ""]
    if report.target is not None:
        lines += ["## Target", "", *_target(report.target, report)]
    lines += ["## Recommendations", ""]
    lines += [f"- {one}" for one in report.recommendations] or [
        "None: no interval of a ratio excludes 1."
    ]
    return "\n".join(lines) + "\n"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    cells = (
        tuple(Cell(text, kind="number" if at else "text") for at, text in enumerate(row))
        for row in rows
    )
    return Table(tuple(headers), tuple(cells))


def _lines(table: Table) -> list[str]:
    return [str(markdown_table(table)), ""]


def _models(rows: Sequence[Profiled]) -> list[str]:
    """Sizes and speeds, and under which conditions."""
    return [*_lines(sizes_table(rows)), *_lines(speeds_table(rows)), conditions(rows[0].cost), ""]


def sizes_table(rows: Sequence[Profiled]) -> Table:
    """A row for each model: what it takes, and what it lost."""
    return _table(
        ("model", "parameters, M", "outside embeddings, M", "weights, MB", "cache, kB per token",
         "cache, kB fixed", "peak, MB", "load, s", "loss"),
        (_size(row) for row in rows),
    )  # fmt: skip


def speeds_table(rows: Sequence[Profiled]) -> Table:
    """A row for each model, phase and batch size."""
    return _table(
        ("model", "phase", "batch", "ms", "tokens per s", "times as fast", "arithmetic allows",
         "FLOPs", "bytes"),
        (_speed(row.cost, phase) for row in rows for phase in row.cost.phases),
    )  # fmt: skip


def _size(row: Profiled) -> list[str]:
    cost = row.cost
    fresh = cost.fresh
    return [
        cost.name,
        f"{cost.parameters.total / _MEGA:,.2f}",
        f"{cost.parameters.non_embedding / _MEGA:,.2f}",
        f"{cost.storage.weights_bytes / _MEGA:,.2f}",
        f"{cost.storage.cache_bytes_per_token / 1e3:,.2f}",
        f"{cost.storage.cache_bytes_fixed / 1e3:,.2f}",
        "-" if fresh is None else f"{fresh.peak_bytes / _MEGA:,.0f}",
        "-" if fresh is None else _spread(fresh.load_seconds),
        "-" if row.quality is None else in_words(row.quality),
    ]


def _speed(cost: CostReport, phase: PhaseCost) -> list[str]:
    speed_up, bound = phase.speed_up(cost.clock), phase.bound
    milliseconds = [1e3 * value for value in _ends(phase.wall_seconds)]
    return [
        cost.name,
        phase.phase.replace("_", " "),
        str(phase.batch_size),
        f"{milliseconds[0]:.4g} [{milliseconds[1]:.4g}, {milliseconds[2]:.4g}]",
        _spread(phase.tokens_per_second),
        "-" if speed_up is None else f"{_spread(speed_up)}",
        "-" if bound is None else f"{bound.speed_up:.2f}",
        "-" if bound is None else f"{bound.flops_ratio:.2f}",
        "-" if bound is None else f"{bound.bytes_ratio:.2f}",
    ]


def _ends(one: Median) -> tuple[float, float, float]:
    return one.median, one.low, one.high


def _spread(one: Median) -> str:
    return f"{one.median:.3g} [{one.low:.3g}, {one.high:.3g}]"


def conditions(cost: CostReport) -> str:
    """Where and how often it was measured."""
    found = cost.conditions
    load = "" if found.load_average is None else f", load {found.load_average:g} before"
    clock = "processor time" if cost.clock == "cpu" else "wall time"
    return (
        f"{found.device}, {found.num_threads} of {found.num_processors} processors{load}. Medians "
        f"of {cost.spec.num_repetitions} rounds in turns with their intervals; ratios are of "
        f"{clock}. FLOPs, bytes: how many times fewer than the dense model's."
    )


def _details(rows: Sequence[Profiled]) -> list[str]:
    """Where the time of each model goes."""
    found = []
    for title, table in module_tables(rows):
        found += [f"{title}:", "", *_lines(table)]
    return found


def module_tables(rows: Sequence[Profiled]) -> Iterator[tuple[str, Table]]:
    """Where the time of each model goes, phase by phase, with a title."""
    for row in rows:
        for phase in ("prefill", "decode"):
            modules = [one for one in row.cost.modules if one.phase == phase][:_NUM_MODULES]
            if modules:
                table = _table(
                    ("module", "class", "calls", "ms", "share"),
                    (
                        (one.path, one.kind, str(one.num_calls), f"{1e3 * one.own_seconds:.3g}",
                         f"{one.share:.1%}")
                        for one in modules
                    ),
                )  # fmt: skip
                yield f"Where {phase} of {row.cost.name} spends its time", table


def between_table(between: dict[str, dict[str, Median]]) -> Table:
    """How optimisation levels compare with level 0."""
    return _table(
        ("phase", "level", "times as fast as level 0"),
        (
            (phase.replace("_", " "), level, _spread(value))
            for phase, levels in between.items()
            for level, value in levels.items()
            if level != "level 0"
        ),
    )


def _target(part: TargetPart, report: ProfileReport) -> list[str]:
    asked = report.spec.target
    assert asked is not None  # there is a part of it
    lines = [verdict(report), "", f"Loss in the search: {part.measure}, more than the dense model."]
    if part.quality is not None:
        lines.append(f"On other text the best loses {in_words(part.quality)}.")
    lines.append("")
    return [*lines, *_lines(looks_table(part, asked))]


def looks_table(part: TargetPart, asked: TargetSpec) -> Table:
    """Every combination that a search looked at."""
    rows = []
    for look in part.looks:
        measured = look.measured or {}
        rows.append(
            [
                look.combination.name,
                f"{look.loss:.4g}",
                *(f"{look.predicted[phase]:.2f}" for phase in asked.phases),
                *(_spread(measured[phase]) if measured else "-" for phase in asked.phases),
            ]
        )
    headers = ["combination", "loss", *(f"{phase}, predicted" for phase in asked.phases)]
    return _table([*headers, *(f"{p}, measured" for p in asked.phases)], rows)


def verdict(report: ProfileReport) -> str:
    """One sentence: whether the target was reached, and by what."""
    part, asked = report.target, report.spec.target
    assert part is not None  # the caller has one
    assert asked is not None
    if part.best is None or part.best.measured is None:
        return f"{asked.speed_up:g}x was not reached: nothing could be measured"
    speeds = ", ".join(f"{phase} {_spread(part.best.measured[phase])}" for phase in asked.phases)
    name = part.best.combination.name
    if part.best.reaches:
        return f"{asked.speed_up:g}x is reached by {name}: {speeds}"
    return f"{asked.speed_up:g}x was not reached; the best found is {name}: {speeds}"
