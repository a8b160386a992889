"""A profile as a page: fronts of quality and cost, speed, memory, and what is refused."""

from typing import Any

import pytest

from sentinel_research.cost.schema import Bound, CostReport, Fresh, Parameters, PhaseCost, Storage
from sentinel_research.machine import Conditions
from sentinel_research.profiling.page import profile_page
from sentinel_research.profiling.schema import Loss, Profiled, ProfileReport
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.render import render_html
from sentinel_research.specs import CostSpec
from sentinel_research.specs.profile import ProfileSpec
from sentinel_research.timing import Comparison, Median

CONDITIONS = Conditions(
    measured_at="2025-01-01T00:00:00+00:00",
    seconds=1.0,
    device="a processor",
    num_threads=1,
    num_processors=2,
    load_average=None,
    dtype="float32",
    commit=None,
    has_changes=None,
    packages={},
    platform="x",
)


def _median(value: float) -> Median:
    return Median(median=value, low=0.5 * value, high=2 * value, coverage=0.95)


def _model(name: str, share: float, loss: float | None, *, is_fresh: bool = True) -> Profiled:
    """A model that takes a share of what the dense one takes."""
    times = ((share, 1.0), (share, 1.0))
    against = Comparison(
        name=name,
        measured=name,
        alternative="dense",
        num_pairs=2,
        wall_seconds=times,
        cpu_seconds=times,
        wall=_median(share),
        cpu=_median(share),
    )
    phases = [
        PhaseCost(
            phase=phase,
            batch_size=1,
            num_tokens=8,
            flops=round(1e9 * share),
            bytes_moved=1000,
            wall_seconds=_median(0.01 * share),
            cpu_seconds=_median(0.01 * share),
            tokens_per_second=_median(100 / share),
            bound=Bound(flops_ratio=1 / share, bytes_ratio=1 / share, speed_up=1 / share),
            against=None if name == "dense" else against,
        )
        for phase in ("prefill", "first_token", "decode")
    ]
    fresh = Fresh(
        kind="resident set",
        before_bytes=10_000_000,
        peak_bytes=10_000_000 + round(5e6 * share),
        load_seconds=_median(0.2 * share),
    )
    cost = CostReport(
        name=name,
        against=None if name == "dense" else "dense",
        spec=CostSpec(),
        conditions=CONDITIONS,
        clock="cpu",
        kernels={},
        parameters=Parameters(
            total=round(2e6 * share), embedding=100, non_embedding=round(2e6 * share) - 100
        ),
        storage=Storage(
            weights_bytes=round(8e6 * share),
            cache_tokens=8,
            cache_bytes=80,
            cache_bytes_per_token=10,
            cache_bytes_fixed=0,
        ),
        rates=None,
        phases=tuple(phases),
        fresh=fresh if is_fresh else None,
        fresh_absent="" if is_fresh else "not asked for",
        modules=(),
    )
    quality = loss is not None and Loss(
        measure="loss on <text>", nats=2.0 + loss, loss=loss, low=loss - 0.1, high=loss + 0.1
    )
    return Profiled(cost=cost, quality=quality or None)


def _parts(*rows: Profiled, **spec: Any) -> dict[str, Part]:
    report = ProfileReport(spec=ProfileSpec(model="shape:tiny", **spec), prunings=rows)
    return {part.key: part for part in profile_page(report).sections[0].parts}


def test_quality_stands_against_measured_time_and_operations_of_both_phases() -> None:
    parts = _parts(_model("dense", 1.0, 0.0), _model("half", 0.5, 0.3))
    for phase in ("prefill", "decode"):
        dense, half = parts[f"prunings_{phase}_latency"].numbers
        assert (dense.cost.value, half.cost.value) == pytest.approx((10.0, 5.0))
        assert half.quality == pytest.approx((0.3, 0.2, 0.4))
        _, half = parts[f"prunings_{phase}_flops"].numbers
        assert half.cost.value == 500.0


def test_memory_is_over_the_empty_process_and_loading_has_its_interval() -> None:
    parts = _parts(_model("dense", 1.0, 0.0), _model("half", 0.5, 0.3))
    memory = {(row.label, row.arm): row.spread.value for row in parts["memory"].numbers}
    assert memory["half", "weights"] == 4.0
    assert memory["half", "peak over the empty process"] == 2.5
    assert parts["loading"].numbers[1].spread == pytest.approx((0.1, 0.05, 0.2))
    speed = {(row.label, row.arm): row.spread for row in parts["speed"].numbers}
    assert speed["half, decode, batch 1", "measured"] == pytest.approx((2.0, 1.0, 4.0))
    assert speed["half, decode, batch 1", "arithmetic allows"].value == 2.0


def test_figure_without_its_numbers_is_refused_with_what_to_add() -> None:
    parts = _parts(_model("dense", 1.0, None, is_fresh=False))
    assert "Add --corpus NAME" in parts["prunings_decode_latency"].absent
    assert "Leave --no-memory out." in parts["loading"].absent
    assert parts["prunings_decode_latency"].figure is None
    alone = _parts(_model("dense", 1.0, 0.0))
    assert "Add --prune head=0.5." in alone["prunings_prefill_flops"].absent


def test_page_is_marked_where_quality_is_of_the_made_up_language() -> None:
    rows = (_model("dense", 1.0, 0.0), _model("half", 0.5, 0.3))
    spec = ProfileSpec(model="shape:tiny", corpus="synthetic")
    html = render_html(profile_page(ProfileReport(spec=spec, prunings=rows)))
    assert "Quality against measured time (decode) (synthetic data)" in html
    assert "Loss on &lt;text&gt;." in html
