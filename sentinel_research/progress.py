"""Progress for people, on stderr: live lines in a terminal, plain lines elsewhere.

Library code takes a `Progress` and tells it what happens; the command line chooses how it is shown.
Pieces of work lie within each other: the models of a run, and the steps of one training. A unit of
the outer piece is as far as the inner one is, so that its time left is known before it is done.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, TextIO

_PLAIN_INTERVAL_SECONDS = 5.0


class Progress(Protocol):
    """What the stages of a run tell about their progress; they call `piece`, not start and end."""

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """A piece of work of `total` units begins, inside the one that is open; see `piece`."""

    def advance(self, note: str = "") -> None:
        """One unit of the innermost piece is done; `note` says something about it."""

    def end(self) -> None:
        """The innermost piece is over."""

    def say(self, message: str) -> None:
        """A finished fact worth a line of its own."""


@contextlib.contextmanager
def piece(
    progress: Progress, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()
) -> Iterator[None]:
    """A piece of work, inside the one that is open; over at the end of the block.

    Args:
        progress: Who is told.
        title: Of the piece.
        total: Its units.
        done: How many of them were done before, by an interrupted run.
        kinds: What kind each of the others is, in their order; units of one kind take about the
            same time. None: all are alike.
    """
    progress.start(title, total, done=done, kinds=kinds)
    try:
        yield
    finally:
        progress.end()


class Silent:
    """Shows nothing: the default of library functions."""

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress."""

    def advance(self, note: str = "") -> None:
        """See Progress."""

    def end(self) -> None:
        """See Progress."""

    def say(self, message: str) -> None:
        """See Progress."""


class Pace:
    """One piece of work and the time that its units took.

    Args:
        title: Of the piece.
        total: Its units.
        done: Done before, in no time of ours.
        kinds: Of the units to come; one kind for all by default.
        now: In seconds, of any clock.
    """

    def __init__(self, title: str, total: int, done: int, kinds: Sequence[str], now: float) -> None:
        self.title, self.total, self.done = title, total, done
        self._kinds = list(kinds) or [""] * (total - done)
        self._to_come = Counter(self._kinds)
        self._place = 0
        self._seconds: dict[str, list[float]] = {}
        self.started = self.shown = self._since = now

    def advance(self, now: float) -> None:
        """The current unit is done."""
        self.done += 1
        if self._place < len(self._kinds):
            name = self._kinds[self._place]
            kind = self._seconds.setdefault(name, [0.0, 0])
            kind[0] += now - self._since
            kind[1] += 1
            self._to_come[name] -= 1
        self._place += 1
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
        if inner is not None and own not in known:
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
    """The pieces that are open, the outermost first."""

    def __init__(self) -> None:
        self.open: list[Pace] = []

    def seconds_left(self, now: float) -> list[float | None]:
        """The time left of every open piece."""
        found: list[float | None] = []
        inner = None
        for pace in reversed(self.open):
            inner = pace.seconds_left(now, inner)
            found.append(inner)
        return found[::-1]


class Plain:
    """Lines with the time that is left, at most one every few seconds.

    Args:
        stream: Where to write; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._paces = Paces()

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress."""
        self._paces.open.append(Pace(title, total, done, kinds, time.monotonic()))
        before = f", {done} done before" if done else ""
        self.say(f"{title} ({total} {'step' if total == 1 else 'steps'}{before})")

    def advance(self, note: str = "") -> None:
        """See Progress."""
        now = time.monotonic()
        own = self._paces.open[-1]
        own.advance(now)
        if now - own.shown < _PLAIN_INTERVAL_SECONDS and own.done < own.total:
            return
        own.shown = now
        left = self._paces.seconds_left(now)
        around = [
            f"{pace.title} {pace.done}/{pace.total}, {_time(seconds)} left"
            for pace, seconds in zip(self._paces.open[:-1], left, strict=False)
        ]
        self.say(
            f"{own.title}: {own.done}/{own.total}, {_time(now - own.started)}, "
            f"{_time(left[-1])} left{f', {note}' if note else ''}"
            + (f" [{'; '.join(around)}]" if around else "")
        )

    def end(self) -> None:
        """See Progress."""
        self._paces.open.pop()

    def say(self, message: str) -> None:
        """See Progress."""
        print(message, file=self._stream, flush=True)


class Live:
    """A live line for every open piece in a terminal, by rich. A context manager: they end with it.

    Args:
        console: rich's; that of stderr by default.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.fields[note]}"),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._paces = Paces()
        self._tasks: list[Any] = []

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress."""
        self._paces.open.append(Pace(title, total, done, kinds, time.monotonic()))
        self._tasks.append(
            self._bars.add_task(title, total=total, completed=done, note="", left="?")
        )

    def advance(self, note: str = "") -> None:
        """See Progress."""
        now = time.monotonic()
        self._paces.open[-1].advance(now)
        self._bars.update(self._tasks[-1], advance=1, note=note)
        for task, seconds in zip(self._tasks, self._paces.seconds_left(now), strict=True):
            self._bars.update(task, left=_time(seconds))

    def end(self) -> None:
        """See Progress."""
        self._paces.open.pop()
        self._bars.remove_task(self._tasks.pop())

    @property
    def tasks(self) -> list[Any]:
        """rich's lines, the outermost first."""
        return list(self._bars.tasks)

    def say(self, message: str) -> None:
        """See Progress."""
        self._bars.console.print(message, markup=False, highlight=False)

    def __enter__(self) -> "Live":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


def _time(seconds: float | None) -> str:
    """A duration for people: seconds below two minutes, then minutes, then hours."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
