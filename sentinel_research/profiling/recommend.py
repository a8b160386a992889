"""What the numbers allow to be recommended: nothing whose interval holds 1.

An interval of fewer than six rounds covers the median with less than 95 percent: it tells nothing.
"""

from typing import NamedTuple

from sentinel_research.timing import Median

_COVERAGE = 0.95


class Candidate(NamedTuple):
    """A choice, and how many times as fast it is."""

    name: str
    """What is chosen."""
    against: str
    """Instead of what."""
    phase: str
    speed_up: Median
    """Of paired ratios."""
    cost: str = ""
    """What it costs in quality, in words; empty where nothing is known or lost."""


def recommendations(candidates: list[Candidate]) -> list[str]:
    """Sentences, one for each candidate that is told from its alternative.

    Args:
        candidates: In the order in which they are to be named.

    Returns:
        None of those whose interval holds 1, or is of too few rounds. A candidate that is slower
        is advised against.

    Example:
        >>> sure = Median(median=2.0, low=1.8, high=2.2, coverage=0.95)
        >>> recommendations([Candidate("level 2", "level 0", "decode", sure)])
        ['decode: take level 2, 2.00x [1.80, 2.20] as fast as level 0']
    """
    found = []
    for one in candidates:
        is_sure = one.speed_up.coverage >= _COVERAGE
        if not is_sure or one.speed_up.low <= 1 <= one.speed_up.high:
            continue
        verb = "take" if one.speed_up.low > 1 else "avoid"
        speed = one.speed_up
        words = f"{speed.median:.2f}x [{speed.low:.2f}, {speed.high:.2f}] as fast as {one.against}"
        cost = f"; {one.cost}" if one.cost else ""
        found.append(f"{one.phase}: {verb} {one.name}, {words}{cost}")
    return found
