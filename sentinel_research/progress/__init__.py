"""Progress for people and for trackers: live lines in a terminal, plain lines elsewhere.

Library code takes a `Progress` and tells it what happens; the command line chooses how it is shown,
and whether trackers hear it too. Pieces of work lie within each other: the cells of a sweep, the
stages of a cell, the steps of a training. A unit of the outer piece is as far as the inner one is,
so that its time left is known before it is done.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sentinel_research.progress.live import Live as Live
from sentinel_research.progress.marks import Mark as Mark
from sentinel_research.progress.marks import printable as printable
from sentinel_research.progress.pace import Pace as Pace
from sentinel_research.progress.plain import Plain as Plain
from sentinel_research.progress.plain import Silent as Silent

if TYPE_CHECKING:
    from sentinel_research.record import CellRecord, RunRecord


class Progress(Protocol):
    """What a run tells about itself; its stages call `piece` and `watched`, not what they pair."""

    @property
    def is_verbose(self) -> bool:
        """Whether anybody reads details and texts, so that it is worth to make them."""

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """A piece of work of `total` units begins, inside the one that is open; see `piece`."""

    def advance(self, note: str = "", *, by: int = 1) -> None:
        """Units of the innermost piece are done; `note` says something about them."""

    def end(self) -> None:
        """The innermost piece is over."""

    def say(self, message: str, mark: Mark | None = None) -> None:
        """A finished fact worth a line of its own; `mark` says of which kind."""

    def detail(self, message: str) -> None:
        """A line for who wants to know everything."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of the innermost piece at a step of it, for charts."""

    def opened(self, record: "RunRecord", folder: Path) -> None:
        """A run begins, or goes on; its record says where it is tracked from now on."""

    def measured(self, label: str, cell: "CellRecord") -> None:
        """A cell of the open run came to its end."""

    def concluded(self, record: "RunRecord", folder: Path, label: str = "") -> None:
        """A record of the open run and its report are written; `label` is its model in a sweep."""

    def closed(self, *, is_done: bool) -> None:
        """The open run is over."""


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
            same time, in later pieces at the same depth too. None: all are alike.
    """
    progress.start(title, total, done=done, kinds=kinds)
    try:
        yield
    finally:
        progress.end()


@contextlib.contextmanager
def watched(progress: Progress, record: "RunRecord", folder: Path) -> Iterator[None]:
    """A run, which is over at the end of the block, however that comes about.

    Args:
        progress: Who is told.
        record: Of the run; `status` says at the end whether it is done.
        folder: Of the run.
    """
    progress.opened(record, folder)
    try:
        yield
    finally:
        progress.closed(is_done=record.status == "done")
