"""Lines on a stream that is no terminal, or none at all."""

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from sentinel_research.progress.deaf import DeafToRecords
from sentinel_research.progress.marks import Mark, stream_shows_signs, with_mark
from sentinel_research.progress.pace import Paces, duration

_INTERVAL_SECONDS = 5.0


class Silent(DeafToRecords):
    """Shows nothing: the default of library functions.

    Args:
        warnings: Where to write what somebody must know although no progress is wanted; None writes
            nothing.
    """

    is_verbose = False

    def __init__(self, warnings: TextIO | None = None) -> None:
        self._warnings = warnings

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress."""

    def advance(self, note: str = "", *, by: int = 1) -> None:
        """See Progress."""

    def end(self) -> None:
        """See Progress."""

    def say(self, message: str, mark: Mark | None = None) -> None:
        """See Progress."""
        if self._warnings is not None and mark == "warning":
            print(with_mark(message, mark, signs=False), file=self._warnings, flush=True)

    def detail(self, message: str) -> None:
        """See Progress."""


class Plain(DeafToRecords):
    """Lines with the time that is left, at most one every few seconds.

    Args:
        stream: Where to write; stderr by default.
        verbose: Whether details are shown.
    """

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False) -> None:
        self.is_verbose = verbose
        self._stream = stream or sys.stderr
        self._signs = stream_shows_signs(self._stream)
        self._paces = Paces()

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress; what lies within another piece is named beside its first steps."""
        is_outermost = not self._paces.open
        self._paces.start(title, total, done, kinds, time.monotonic())
        before = f", {done} done before" if done else ""
        if is_outermost or self.is_verbose:
            self.say(f"{title} ({total} {'step' if total == 1 else 'steps'}{before})")

    def advance(self, note: str = "", *, by: int = 1) -> None:
        """See Progress."""
        now = time.monotonic()
        own = self._paces.open[-1]
        own.advance(now, by)
        is_last = own.done >= own.total and len(self._paces.open) == 1
        if now - own.shown < _INTERVAL_SECONDS and not is_last:
            return
        own.shown = now
        left = self._paces.seconds_left(now)
        around = [
            f"{pace.title} {pace.done}/{pace.total}, {duration(seconds)} left"
            for pace, seconds in zip(self._paces.open[:-1], left, strict=False)
        ]
        self.say(
            f"{own.title}: {own.done}/{own.total}, {duration(now - own.started)}, "
            f"{duration(left[-1])} left{f', {note}' if note else ''}"
            + (f" [{'; '.join(around)}]" if around else "")
        )

    def end(self) -> None:
        """See Progress."""
        self._paces.end()

    def say(self, message: str, mark: Mark | None = None) -> None:
        """See Progress."""
        print(with_mark(message, mark, signs=self._signs), file=self._stream, flush=True)

    def detail(self, message: str) -> None:
        """See Progress."""
        if self.is_verbose:
            self.say(f"  {self._paces.place()}{message}")
