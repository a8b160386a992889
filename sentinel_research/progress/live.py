"""A live line for every open piece of work in a terminal, by rich."""

import functools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from sentinel_research.progress.deaf import DeafToRecords
from sentinel_research.progress.marks import Mark, shows_signs, with_mark
from sentinel_research.progress.pace import Paces, duration


class Live(DeafToRecords):
    """Live lines in a terminal. A context manager: they end with it.

    While they are shown nobody else draws: bars of tqdm, which lm-eval and others have, stay off.

    Args:
        console: rich's; that of stderr by default.
        verbose: Whether details are shown.
    """

    def __init__(self, console: Any = None, *, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self.is_verbose = verbose
        self._console = console or Console(stderr=True)
        self._signs = shows_signs(
            is_terminal=self._console.is_terminal, encoding=self._console.encoding
        )
        # titles and notes are data: a bracket in a name is a bracket
        text = functools.partial(TextColumn, markup=False)
        self._bars = Bars(
            text("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            text("{task.fields[left]} left"),
            text("{task.fields[note]}"),
            console=self._console,
            transient=True,
        )
        self._paces = Paces()
        self._tasks: list[Any] = []
        self._bars_of_others: Any = None

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress."""
        depth = len(self._paces.open)
        self._paces.start(title, total, done, kinds, time.monotonic())
        task = self._bars.add_task(
            f"{'  ' * depth}{title}", total=total, completed=done, note="", left="?"
        )
        self._tasks.append(task)
        self._show_left()

    def advance(self, note: str = "", *, by: int = 1) -> None:
        """See Progress."""
        self._paces.open[-1].advance(time.monotonic(), by)
        self._bars.update(self._tasks[-1], advance=by, note=note)
        self._show_left()

    def _show_left(self) -> None:
        left = self._paces.seconds_left(time.monotonic())
        for task, seconds in zip(self._tasks, left, strict=True):
            self._bars.update(task, left=duration(seconds))

    def end(self) -> None:
        """See Progress."""
        self._paces.end()
        self._bars.remove_task(self._tasks.pop())

    @property
    def tasks(self) -> list[Any]:
        """rich's lines, the outermost first."""
        return list(self._bars.tasks)

    def say(self, message: str, mark: Mark | None = None) -> None:
        """See Progress."""
        self._console.print(
            with_mark(message, mark, signs=self._signs), markup=False, highlight=False
        )

    def detail(self, message: str) -> None:
        """See Progress."""
        if self.is_verbose:
            self.say(f"  {self._paces.place()}{message}")

    def __enter__(self) -> "Live":
        from tqdm import std

        # its own switch is read when it is imported, which may be long ago
        own: Any = std.tqdm
        self._bars_of_others = vars(own)["__init__"]
        own.__init__ = _without_bar(own.__init__)
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from tqdm import std

        own: Any = std.tqdm
        own.__init__ = self._bars_of_others
        self._bars.stop()


def _without_bar(begin: Any) -> Any:
    """The constructor of a bar that counts and is not shown."""

    @functools.wraps(begin)
    def begin_hidden(*given: Any, **options: Any) -> None:
        begin(*given, **{**options, "disable": True})

    return begin_hidden
