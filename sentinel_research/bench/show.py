"""Sections as a few lines for people."""

from sentinel_research.bench.schema import (
    AdapterSection,
    AttentionSection,
    ForwardSection,
    LevelsSection,
    MambaSection,
    PeerCase,
    PeerResult,
    PeersSection,
    PrecisionSection,
    PruningSection,
    ResolventSection,
    RunsSection,
    SweepSection,
)
from sentinel_research.bench.schema_base import Section
from sentinel_research.bench.schema_cost import CostSection
from sentinel_research.timing import Comparison, Median

_MEGABYTE = 1e6


def lines_of(section: Section) -> list[str]:
    """A section's comparisons, what belongs to them, and its checks."""
    found = [_comparison(one) for one in section.comparisons]
    if isinstance(section, ForwardSection):
        found = _forward(section)
    if isinstance(section, MambaSection):
        found = [_speed_up(one) for one in section.comparisons]
        found += [f"{name} was not measured: {why}" for name, why in section.not_measured.items()]
    if isinstance(section, SweepSection):
        found = [_speed_up(one) for one in section.comparisons] + _alone(section)
    if isinstance(section, AttentionSection):
        found = [_speed_up(one) for one in section.comparisons]
    if isinstance(section, LevelsSection):
        found = _levels(section)
    if isinstance(section, CostSection):
        found = [
            f"{_speed_up(one)}; arithmetic allows {bound.speed_up:.2f}x"
            for one, bound in zip(section.comparisons, section.bounds, strict=True)
        ]
    if isinstance(section, PrecisionSection):
        found = [_speed_up(one) for one in section.comparisons] + _held(section)
    if isinstance(section, RunsSection):
        found = [_speed_up(one) for one in section.comparisons]
        found.append(
            f"{section.num_records:,} records of {section.record_bytes / _MEGABYTE:,.0f} MB with "
            f"{section.num_cells:,} cells and {section.num_measurements:,} measurements; index "
            f"{section.index_bytes / _MEGABYTE:,.1f} MB"
        )
    if isinstance(section, AdapterSection):
        found = [_speed_up(one) for one in section.comparisons] + _floors(section)
    if isinstance(section, ResolventSection):
        found += [
            f"{name}: time grows with the power {power:.3f} of the length ({section.kernel})"
            for name, power in section.exponents.items()
        ]
    if isinstance(section, PruningSection):
        found += _memory(section)
    if isinstance(section, PeersSection):
        found += [line for case in section.cases for line in _case(case)]
    for check in section.checks:
        found.append(f"{'ok' if check.passed else 'FAILED'}: {check.name}: {check.detail}")
    conditions = section.conditions
    load = "" if conditions.load_average is None else f", load {conditions.load_average:g} before"
    threads = f"{conditions.num_threads} thread{'s' * (conditions.num_threads > 1)}"
    found.append(f"({conditions.device}, {threads}{load}, {conditions.seconds:g} s)")
    return found


def _comparison(one: Comparison) -> str:
    return (
        f"{one.name}: {_ratio(one.wall)} times ({one.alternative}); "
        f"processor time {one.cpu.median:.2f}; {one.num_pairs} pairs"
    )


def _speed_up(one: Comparison) -> str:
    wall = one.wall
    return (
        f"{one.name}: {1 / wall.median:.2f}x [{1 / wall.high:.2f}, {1 / wall.low:.2f}] as fast as "
        f"{one.alternative}; processor time {1 / one.cpu.median:.2f}x; {one.num_pairs} pairs"
    )


def _ratio(ratio: Median) -> str:
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _forward(section: ForwardSection) -> list[str]:
    found = []
    for one, cost in zip(section.comparisons, section.costs, strict=True):
        # a speed-up is the inverse of the ratio of times, and its interval turns round
        wall = one.wall
        found.append(
            f"{one.name}: {1 / wall.median:.2f}x [{1 / wall.high:.2f}, {1 / wall.low:.2f}] as fast "
            f"as dense; multiply-adds allow {1 / cost.mac_ratio:.2f}x, without any head "
            f"{1 / cost.mac_ratio_without_heads:.2f}x; {one.num_pairs} pairs"
        )
    return found


def _levels(section: LevelsSection) -> list[str]:
    """One line for each size, mode and arm, and one for its parameters."""
    rows: dict[str, list[str]] = {}
    for one in section.comparisons:
        arm, _, level = one.name.rpartition("/")
        wall = one.wall
        rows.setdefault(f"{arm}, times as fast as dense", []).append(
            f"{level} {1 / wall.median:.2f} [{1 / wall.high:.2f}, {1 / wall.low:.2f}]"
        )
    for model in section.models:
        arm, _, level = model.name.rpartition("/")
        rows.setdefault(f"{arm}, million parameters", []).append(
            f"{level} {model.num_parameters / 1e6:.1f}"
        )
    return [f"{title}: {'; '.join(cells)}" for title, cells in rows.items()]


def _held(section: PrecisionSection) -> list[str]:
    def shown(number: int | None) -> str:
        return "unknown" if number is None else f"{number / _MEGABYTE:,.1f} MB"

    found = [
        f"{one.name}: weights {shown(one.weight_bytes)}, files {shown(one.file_bytes)}, a fresh "
        f"process rose by {shown(one.loaded_bytes)} loading and {shown(one.peak_bytes)} at most "
        f"({one.kernel})"
        for one in section.models
    ]
    return found + [f"{name} was not measured: {why}" for name, why in section.not_measured.items()]


def _memory(section: PruningSection) -> list[str]:
    if section.memory_reason is not None:
        return [f"memory was not measured: {section.memory_reason}"]
    rows = [
        f"{row.name} +{row.rise_bytes / _MEGABYTE:.0f} MB (peak {row.peak_bytes / _MEGABYTE:.0f})"
        for row in section.memory
    ]
    whole = f"memory, {section.memory_kind}, weights {section.model_bytes / _MEGABYTE:.0f} MB: "
    return [whole + "; ".join(rows)]


def _alone(section: SweepSection) -> list[str]:
    found = [
        f"{one.cell} alone: {one.cpu_seconds:.1f} s of processor time, peak "
        f"{one.peak_bytes / _MEGABYTE:,.0f} MB"
        for one in section.cells
    ]
    return [*found, f"the sweep: peak {section.peak_bytes / _MEGABYTE:,.0f} MB"]


def _floors(section: AdapterSection) -> list[str]:
    found = [
        f"{one.name}: {one.num_tokens_read:,} distinct tokens to read, {one.num_rows_scored:,} "
        f"rows to score, {one.floor_flops / 1e9:,.0f} GFLOP: {one.fraction:.2f} of the time at "
        f"{one.flops_per_second / 1e9:.0f} GFLOP/s of a matrix product"
        for one in section.workloads
    ]
    return found + [
        f"{row.name}: peak {row.ours_bytes / _MEGABYTE:,.0f} MB, stock "
        f"{row.stock_bytes / _MEGABYTE:,.0f} MB"
        for row in section.memory
    ]


def _case(case: PeerCase) -> list[str]:
    return [
        f"{case.name}, {who}: {_result(result)} (dense {case.model.num_parameters:,})"
        for who, result in (("ours", case.ours), ("peer", case.theirs))
    ]


def _result(result: PeerResult) -> str:
    words = [result.outcome]
    if result.num_parameters is not None:
        words.append(f"{result.num_parameters:,} parameters")
    if result.difference_from_masked is not None:
        words.append(f"{result.difference_from_masked:.1e} from masked")
    if result.reloads is not None:
        words.append(f"reloads: {result.reloads}")
    if result.reloads_pickled is not None:
        words.append(f"pickled: {result.reloads_pickled}")
    return "; ".join(words)
