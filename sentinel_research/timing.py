"""Measure alternatives in turns, and take the ratio of each pair.

Two times that were taken one after the other share the load, the clock frequency and the
temperature of the machine at that moment, so their ratio is far steadier than either. Which of them
runs first changes from round to round, so that neither always meets the warmer cache.

Reference: [1] exact interval of the median from order statistics: Hahn and Meeker 1991, Statistical
Intervals, section 5.2.
"""

import contextlib
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from sentinel_research.specs.base import Spec

wall_clock: Callable[[], float] = time.perf_counter
cpu_clock: Callable[[], float] = time.process_time
_CONFIDENCE = 0.95


def nothing() -> None:
    """No preparation; no device to wait for."""


class Row(Spec):
    """What is measured is a finite number."""

    model_config = ConfigDict(allow_inf_nan=False)


class Median(Row):
    """The median of independent values, such as the ratios of pairs, and its interval."""

    median: float = Field(gt=0)
    """In the middle; of paired ratios `measured / alternative`."""
    low: float = Field(gt=0)
    """Lower end of the interval, one of the values."""
    high: float = Field(gt=0)
    """Upper end of the interval, one of the values."""
    coverage: float = Field(ge=0, lt=1)
    """Probability with which such intervals contain the true median."""


class Comparison(Row):
    """One thing and its alternative, timed in turns in one process."""

    name: str
    """Unique in its section."""
    measured: str
    """What was timed."""
    alternative: str
    """What it is compared with."""
    num_pairs: int = Field(ge=2)
    """Rounds in which both were timed."""
    wall_seconds: tuple[tuple[float, float], ...]
    """Per pair the time that passed, measured and alternative."""
    cpu_seconds: tuple[tuple[float, float], ...]
    """Per pair the time on all processors, measured and alternative."""
    wall: Median
    """Of the wall times."""
    cpu: Median
    """Of the processor times."""

    @model_validator(mode="after")
    def _follows_from_the_pairs(self) -> "Comparison":
        for clock in ("wall", "cpu"):
            pairs: tuple[tuple[float, float], ...] = getattr(self, f"{clock}_seconds")
            if len(pairs) != self.num_pairs:
                raise ValueError(f"{len(pairs)} {clock} times for {self.num_pairs} pairs")
            median = statistics.median(measured / other for measured, other in pairs)
            stated = getattr(self, clock).median
            if not math.isclose(median, stated, rel_tol=1e-9):
                raise ValueError(f"{clock} median {stated} is not that of the pairs, {median}")
        return self


class Action(NamedTuple):
    """Something that is timed."""

    run: Callable[[Any], object]
    """Called with what `prepare` returned; what it returns is freed after the clock has stopped."""
    prepare: Callable[[], Any] = nothing
    """Called before the clock starts."""


class Sample(NamedTuple):
    """Time of one call."""

    wall_seconds: float
    """Time that passed."""
    cpu_seconds: float
    """Time that all threads of this process were on a processor."""


def measure(
    actions: Mapping[str, Action],
    num_rounds: int,
    wait: Callable[[], object] = nothing,
    told: Callable[[], object] = nothing,
) -> dict[str, list[Sample]]:
    """Run every action once to warm up, and then once in every round.

    Args:
        actions: What is timed, by name; in each round another one goes first.
        num_rounds: Samples of each action.
        wait: Waits until the device has finished what was asked of it.
        told: Called after every round, while no clock runs.

    Returns:
        The samples of every action; the i-th ones belong to one round.
    """
    names = list(actions)
    for action in actions.values():
        action.run(action.prepare())
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    with _quick_collections():
        for index in range(num_rounds):
            first = index % len(names)
            for name in names[first:] + names[:first]:
                samples[name].append(_timed(actions[name], wait))
            told()
    return samples


@contextlib.contextmanager
def _quick_collections() -> Iterator[None]:
    """What is alive now is not searched again for garbage at every sample."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _timed(action: Action, wait: Callable[[], object]) -> Sample:
    prepared = action.prepare()
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        wait()
        wall, cpu = wall_clock(), cpu_clock()
        result = action.run(prepared)
        wait()
        sample = Sample(round(wall_clock() - wall, 9), round(cpu_clock() - cpu, 9))
    finally:
        if collects:
            gc.enable()
    del result
    return sample


def compare(
    name: str,
    measured: tuple[str, Sequence[Sample]],
    alternative: tuple[str, Sequence[Sample]],
) -> Comparison:
    """Put two measured actions beside each other.

    Args:
        name: Of the comparison.
        measured: What it is about, in words, and its samples.
        alternative: What it is compared with, and its samples from the same rounds.
    """
    pairs = list(zip(measured[1], alternative[1], strict=True))
    wall = tuple((ours.wall_seconds, other.wall_seconds) for ours, other in pairs)
    cpu = tuple((ours.cpu_seconds, other.cpu_seconds) for ours, other in pairs)
    return Comparison(
        name=name,
        measured=measured[0],
        alternative=alternative[0],
        num_pairs=len(pairs),
        wall_seconds=wall,
        cpu_seconds=cpu,
        wall=ratio_of(wall),
        cpu=ratio_of(cpu),
    )


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Median:
    """The median of the pairs' ratios with its interval.

    Args:
        pairs: `(measured, alternative)`, at least two.

    Example:
        >>> ratio_of([(2.0, 1.0), (3.0, 1.0), (8.0, 2.0)])
        Median(median=3.0, low=2.0, high=4.0, coverage=0.75)
    """
    return median_interval([measured / alternative for measured, alternative in pairs])


def median_interval(values: Sequence[float], confidence: float = _CONFIDENCE) -> Median:
    """The median of independent values with an exact interval.

    It runs between two order statistics, the innermost ones that cover the true median with the
    probability asked for [1]; where no two do, as with fewer than 6 values and 95 percent, it runs
    from the smallest to the largest, with the probability that those have.

    Args:
        values: At least two.
        confidence: Coverage in (0, 1).
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 pairs, got {len(values)}")
    ratios = sorted(values)
    num, outside = len(ratios), 0
    # P(fewer than k + 1 of n ratios lie below the median) is the tail of Binomial(n, 1/2)
    while 2 * _tail(num, outside + 1) <= 1 - confidence:
        outside += 1
    return Median(
        median=statistics.median(ratios),
        low=ratios[outside],
        high=ratios[num - 1 - outside],
        coverage=1 - 2 * _tail(num, outside),
    )


def _tail(num: int, successes: int) -> float:
    return float(sum(math.comb(num, k) for k in range(successes + 1)) / 2**num)
