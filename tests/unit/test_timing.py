"""Pairs are measured in turns, and ratios come from pairs."""

import gc

import pytest

from sentinel_research import timing
from sentinel_research.timing import Action, Sample, compare, measure, ratio_of


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "wall_clock", clock)
    monkeypatch.setattr(timing, "cpu_clock", lambda: clock() / 2)
    return clock


def test_each_round_runs_every_action_and_another_one_first(clock: Clock) -> None:
    ran: list[str] = []
    actions = {name: Action(lambda _, name=name: ran.append(name)) for name in "abc"}
    measure(actions, 4)
    warm_up, rounds = "".join(ran[:3]), "".join(ran[3:])
    assert warm_up == "abc"
    assert rounds == "abc" + "bca" + "cab" + "abc"


def test_time_is_that_of_the_action_without_its_preparation(clock: Clock) -> None:
    action = Action(clock.spend, lambda: clock.spend(100) or 2.0)
    assert measure({"a": action}, 2) == {"a": [Sample(2.0, 1.0)] * 2}


def test_waiting_for_the_device_counts(clock: Clock) -> None:
    pending = [0.0]

    def launch(_: object) -> None:
        pending[0] = 3.0

    def wait() -> None:
        clock.spend(pending[0])
        pending[0] = 0.0

    assert measure({"a": Action(launch)}, 1, wait)["a"][0].wall_seconds == 3.0


def test_ratio_is_the_median_over_pairs_not_the_ratio_of_medians(clock: Clock) -> None:
    # a machine whose speed changes from round to round: the pairs all say 2, the medians 1.2
    slowness = iter([1.0, 1.0, 5.0, 3.0, 50.0, 50.0, 7.0, 7.0])
    actions = {
        "measured": Action(lambda _: clock.spend(2 * next(slowness))),
        "plain": Action(lambda _: clock.spend(next(slowness))),
    }
    samples = measure(actions, 3)
    found = compare("x", ("m", samples["measured"]), ("p", samples["plain"]))
    assert found.wall_seconds == ((10.0, 3.0), (100.0, 50.0), (14.0, 7.0))
    assert found.wall.median == found.cpu.median == 2.0
    assert found.num_pairs == 3


def test_progress_is_told_after_every_round_and_never_within_one() -> None:
    said: list[str] = []
    actions = {name: Action(lambda _, name=name: said.append(name)) for name in "ab"}
    measure(actions, 2, told=lambda: said.append("told"))
    # the first of both is the warm-up
    assert said == ["a", "b", "a", "b", "told", "b", "a", "told"]


def test_samples_of_different_rounds_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare("x", ("m", [Sample(1, 1)] * 3), ("p", [Sample(1, 1)] * 2))


@pytest.mark.parametrize(
    ("num_pairs", "outside", "coverage"),
    [(2, 0, 0.5), (5, 0, 0.9375), (7, 0, 0.984375), (9, 1, 0.9609375), (15, 3, 0.96484375)],
)
def test_interval_is_the_innermost_that_covers_95_percent(
    num_pairs: int, outside: int, coverage: float
) -> None:
    found = ratio_of([(float(k), 1.0) for k in range(1, num_pairs + 1)])
    assert (found.low, found.high) == (1 + outside, num_pairs - outside)
    assert found.coverage == coverage


def test_one_pair_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs"):
        ratio_of([(1.0, 1.0)])


def test_garbage_collection_is_as_before_also_after_a_failure(clock: Clock) -> None:
    def fail(_: object) -> None:
        if clock() > 0:
            raise RuntimeError("broken")
        clock.spend(1)

    with pytest.raises(RuntimeError, match="broken"):
        measure({"a": Action(fail)}, 1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
