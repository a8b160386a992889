"""A search finds the least loss that reaches the target, by the clock and not by arithmetic."""

import io
import math
from collections.abc import Mapping

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.profiling.search import Found, search, space_of
from sentinel_research.progress import Plain, plain
from sentinel_research.specs.profile import Combination, TargetSpec
from sentinel_research.timing import Median

SPACE = {"head": [0.0, 0.25, 0.5], "neuron": [0.0, 0.25, 0.5], "bits": [32.0]}


class Planted:
    """Speed and loss that are known: each kind has its price.

    Args:
        truth: What the clock finds of what arithmetic promises.
    """

    def __init__(self, truth: float = 1.0) -> None:
        self.truth = truth
        self.timed: list[str] = []

    def loss(self, combination: Combination) -> float:
        """Heads are three times as dear as neurons."""
        return 3 * combination.head + combination.neuron

    def predicted(self, combination: Combination) -> dict[str, float]:
        """A quarter of either is worth a fifth in logarithm, in both phases."""
        gain = math.exp(0.8 * (combination.head + combination.neuron))
        return {"prefill": gain, "decode": gain}

    def measured(self, combination: Combination) -> Mapping[str, Median]:
        """What was promised, times the truth."""
        self.timed.append(combination.name)
        value = self.predicted(combination)["prefill"] * self.truth
        one = Median(median=value, low=0.9 * value, high=1.1 * value, coverage=0.95)
        return {"prefill": one, "decode": one}


def _target(speed_up: float, search: str = "greedy") -> TargetSpec:
    return TargetSpec.model_validate(
        {"speed_up": speed_up, "search": search, "num_trials": 30, "units": ("head", "neuron")}
    )


def _best(found: Found) -> str:
    assert found.best is not None
    return found.best.tried.combination.name


@pytest.mark.parametrize("how", ["greedy", "optuna"])
@pytest.mark.parametrize(
    ("speed_up", "expected"),
    [
        (1.2, "neuron=0.25"),
        (1.45, "neuron=0.5"),
        (1.8, "head=0.25,neuron=0.5"),
        (2.2, "head=0.5,neuron=0.5"),
    ],
)
def test_what_is_cheapest_goes_first(how: str, speed_up: float, expected: str) -> None:
    if how == "optuna":
        pytest.importorskip("optuna")
    found = search(Planted(), SPACE, _target(speed_up, how))
    assert found.is_reached
    assert _best(found) == expected


def test_only_what_is_expected_to_reach_the_target_is_timed() -> None:
    meter = Planted()
    search(meter, SPACE, _target(1.45))
    assert meter.timed == ["neuron=0.5"]


def test_search_goes_on_where_the_clock_falls_short_of_arithmetic() -> None:
    meter = Planted(truth=0.9)
    found = search(meter, SPACE, _target(1.45))
    assert meter.timed == ["neuron=0.5", "head=0.25,neuron=0.5"]
    assert _best(found) == "head=0.25,neuron=0.5"
    assert [one.reaches for one in found.measured] == [False, True]


@pytest.mark.parametrize("how", ["greedy", "optuna"])
def test_target_out_of_reach_leaves_the_fastest_that_was_found(how: str) -> None:
    if how == "optuna":
        pytest.importorskip("optuna")
    found = search(Planted(), SPACE, _target(5.0, how))
    assert not found.is_reached
    assert _best(found) == "head=0.5,neuron=0.5"


def test_phase_that_does_not_count_need_not_be_fast() -> None:
    class Slow(Planted):
        def predicted(self, combination: Combination) -> dict[str, float]:
            return {**super().predicted(combination), "decode": 1.0}

        def measured(self, combination: Combination) -> Mapping[str, Median]:
            found = dict(super().measured(combination))
            return {**found, "decode": Median(median=1, low=1, high=1, coverage=0.95)}

    asked = _target(1.2)
    assert not search(Slow(), SPACE, asked).is_reached
    assert search(Slow(), SPACE, asked.model_copy(update={"phase": "prefill"})).is_reached


def test_space_has_whole_units_and_one_stays() -> None:
    target = TargetSpec(speed_up=2, units=("head", "layer"), num_steps=4, bits=(8, 32))
    found = space_of({"head": 3, "layer": 8}, target)
    assert found["head"] == [0.0, 1 / 3, 2 / 3]
    assert found["layer"] == [0.0, 0.25, 0.5, 0.75]
    assert found["bits"] == [32.0, 8.0]


def test_heads_and_their_groups_are_not_searched_together() -> None:
    with pytest.raises(UsageError, match="would take heads twice"):
        search(Planted(), {"head": [0.0], "kv_group": [0.0], "bits": [32.0]}, _target(2.0))


@pytest.mark.parametrize("how", ["greedy", "optuna"])
def test_search_never_says_that_it_is_further_than_it_can_get(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "optuna":
        pytest.importorskip("optuna")
    # every step, and not one in five seconds
    monkeypatch.setattr(plain, "_INTERVAL_SECONDS", 0.0)
    stream = io.StringIO()
    progress = Plain(stream)
    progress.start("profile", 1)
    search(Planted(), SPACE, _target(2.2, how), progress)
    progress.end()
    most = {"greedy": 5, "optuna": 30}[how]
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("search: ")]
    assert lines
    done = [tuple(map(int, line.split()[1].rstrip(",").split("/"))) for line in lines]
    assert all(place <= total == most for place, total in done)
