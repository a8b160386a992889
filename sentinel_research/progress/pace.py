"""How long pieces of work take, and what is left of them."""

from collections import Counter
from collections.abc import Sequence

Learnt = dict[str, list[float]]
"""Seconds and number of the units of each kind."""


class Pace:
    """One piece of work and the time that its units took.

    Args:
        title: Of the piece.
        total: Its units.
        done: Done before, in no time of ours.
        kinds: Of the units to come; one kind for all by default.
        now: In seconds, of any clock.
        learnt: Seconds and number of the units of each kind that earlier pieces had; those of this
            one are added to it. None starts from nothing.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int,
        kinds: Sequence[str],
        now: float,
        learnt: Learnt | None = None,
    ) -> None:
        self.title, self.total, self.done = title, total, done
        self._kinds = list(kinds) or [""] * (total - done)
        self._to_come = Counter(self._kinds)
        self._place = 0
        self._seconds: Learnt = {} if learnt is None else learnt
        self.started = self.shown = self._since = now

    def advance(self, now: float, by: int = 1) -> None:
        """The current units are done; they took equally long."""
        self.done += by
        for name in self._kinds[self._place : self._place + by]:
            kind = self._seconds.setdefault(name, [0.0, 0])
            kind[0] += (now - self._since) / by
            kind[1] += 1
            self._to_come[name] -= 1
        self._place += by
        self._since = now

    def seconds_left(self, now: float, inner: float | None = None) -> float | None:
        """The time left; units of a kind that none is done of count as the mean of the others.

        Args:
            now: In seconds.
            inner: What the piece within the current unit still needs.

        Returns:
            None where nothing was measured yet.
        """
        if self._place >= len(self._kinds):
            return 0.0
        own = self._kinds[self._place]
        known = {kind: spent / count for kind, (spent, count) in self._seconds.items()}
        current = inner
        if inner is not None and own in known:
            # what lies within the unit may be the first of several pieces
            current = max(inner, known[own] - (now - self._since))
        elif inner is not None:
            known[own] = now - self._since + inner
        if not known:
            return None
        spent = sum(found[0] for found in self._seconds.values())
        number = sum(found[1] for found in self._seconds.values())
        usual = spent / number if number else sum(known.values()) / len(known)
        if current is None:
            # what lies within the unit has not begun: time since its start counts towards it
            current = max(0.0, known.get(own, usual) - (now - self._since))
        after = sum(known.get(kind, usual) * count for kind, count in self._to_come.items())
        return max(0.0, current + after - known.get(own, usual))


class Paces:
    """The pieces that are open, the outermost first.

    Units that are told apart by their kind teach the pieces that come later at the same depth: the
    stages of a cell take about as long as those of the cells before it.
    """

    def __init__(self) -> None:
        self.open: list[Pace] = []
        self._learnt: dict[int, Learnt] = {}

    def start(self, title: str, total: int, done: int, kinds: Sequence[str], now: float) -> None:
        """A piece begins, inside the one that is open."""
        learnt = self._learnt.setdefault(len(self.open), {}) if kinds else None
        self.open.append(Pace(title, total, done, kinds, now, learnt))

    def end(self) -> None:
        """The innermost piece is over."""
        self.open.pop()

    def place(self) -> str:
        """The pieces inside the outermost, for the beginning of a line."""
        return "".join(f"{pace.title}, " for pace in self.open[1:])

    def seconds_left(self, now: float) -> list[float | None]:
        """The time left of every open piece."""
        found: list[float | None] = []
        inner = None
        for pace in reversed(self.open):
            inner = pace.seconds_left(now, inner)
            found.append(inner)
        return found[::-1]


def duration(seconds: float | None) -> str:
    """A duration for people: seconds below two minutes, then minutes, then hours."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
