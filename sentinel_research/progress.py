"""Progress for people, on stderr: one live line in a terminal, plain lines elsewhere.

Library code takes a `Progress` and tells it what happens; the command line chooses how it is shown.
"""

import sys
import time
from types import TracebackType
from typing import Protocol, TextIO

_PLAIN_INTERVAL_SECONDS = 5.0


class Progress(Protocol):
    """What the stages of a run tell about their progress."""

    def start(self, title: str, total: int) -> None:
        """A piece of work of `total` steps begins."""

    def advance(self, note: str = "") -> None:
        """One step of it is done; `note` says something about it."""

    def say(self, message: str) -> None:
        """A finished fact worth a line of its own."""


class Silent:
    """Shows nothing: the default of library functions."""

    def start(self, title: str, total: int) -> None:
        """See Progress."""

    def advance(self, note: str = "") -> None:
        """See Progress."""

    def say(self, message: str) -> None:
        """See Progress."""


class Plain:
    """Lines with the time that is left, at most one every few seconds.

    Args:
        stream: Where to write; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._title, self._total, self._done = "", 0, 0
        self._started = self._shown = 0.0

    def start(self, title: str, total: int) -> None:
        """See Progress."""
        self._title, self._total, self._done = title, total, 0
        self._started = self._shown = time.monotonic()
        self.say(f"{title} ({total} {'step' if total == 1 else 'steps'})")

    def advance(self, note: str = "") -> None:
        """See Progress."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown < _PLAIN_INTERVAL_SECONDS and self._done < self._total:
            return
        self._shown = now
        elapsed = now - self._started
        left = elapsed / self._done * (self._total - self._done)
        self.say(
            f"{self._title}: {self._done}/{self._total}, {elapsed:.0f} s, {left:.0f} s left"
            f"{f', {note}' if note else ''}"
        )

    def say(self, message: str) -> None:
        """See Progress."""
        print(message, file=self._stream, flush=True)


class Live:
    """One live line in a terminal, by rich. A context manager: the line ends with it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bars.add_task("", total=None, note="", visible=False)

    def start(self, title: str, total: int) -> None:
        """See Progress."""
        self._bars.reset(
            self._task, description=title, total=total, completed=0, note="", visible=True
        )

    def advance(self, note: str = "") -> None:
        """See Progress."""
        self._bars.update(self._task, advance=1, note=note)

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
