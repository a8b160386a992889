"""What the section on cost compares, and when its bounds hold."""

import pytest

from sentinel_research.bench.cost import COMBINATIONS, bench_cost, checks
from sentinel_research.bench.show import lines_of
from sentinel_research.timing import Comparison, Sample, compare

pytestmark = pytest.mark.long


def test_every_combination_is_timed_in_both_phases_with_its_bound() -> None:
    section = bench_cost("tiny", "cpu", 2)
    names = [f"{phase}/{one.name}" for one in COMBINATIONS for phase in ("prefill", "decode")]
    assert [one.name for one in section.comparisons] == names
    assert [one.comparison for one in section.bounds] == names
    assert section.checks == ()
    dense = {tuple(other for _, other in one.wall_seconds) for one in section.comparisons[::2]}
    assert len(dense) == 1, "all combinations share the dense model's times"
    assert "arithmetic allows 1." in lines_of(section)[0]


def _timed(name: str, speed_up: float) -> Comparison:
    measured = [Sample(1 / speed_up, 1 / speed_up)] * 3
    return compare(name, ("m", measured), ("dense", [Sample(1, 1)] * 3))


@pytest.mark.parametrize(("speed_up", "passed"), [(5.1, True), (1.9, False)])
def test_bounds_are_on_speed_ups(speed_up: float, passed: bool) -> None:
    found = [
        _timed(f"{phase}/{one.name}", speed_up)
        for one in COMBINATIONS
        for phase in ("prefill", "decode")
    ]
    assert [one.passed for one in checks(found, on_cpu=True)] == [passed] * 3
