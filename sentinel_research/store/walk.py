"""Which record files there are below a folder, and what the system says about each.

A run is a folder with a `record.json`; its cells may be runs of their own, `cells/ID/record.json`,
as those of a sweep are. Kept records are `NAME.json.xz`. Hidden folders and links to folders are
not entered, and of a run's folder nothing but `cells`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sentinel_research.errors import UsageError
from sentinel_research.record import RECORD_FILE
from sentinel_research.store.extract import KEPT_SUFFIX

_CELLS = "cells"


class Stamp(NamedTuple):
    """What changes where a file or folder does; a file that is replaced gets another inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @property
    def changed_ns(self) -> int:
        """The later of both times."""
        return max(self.mtime_ns, self.ctime_ns)


NONE = Stamp(-1, -1, -1, -1)
"""Of what is not there."""


class RecordFile(NamedTuple):
    """A file that should hold a record."""

    path: str
    """Below the folder that was walked: the run's folder (`.` for that one itself), or the file of
    a kept record."""
    stamp: Stamp
    """Of the file."""
    cells: Stamp
    """Of the folder `cells` beside it."""


IsClosed = Callable[[RecordFile], bool]
"""Whether a run is known, from an unchanged record and `cells`, to be over and to have no runs
below: most of the time of a walk would go into looking for them again."""


def walk(root: Path, is_closed: IsClosed) -> Iterator[RecordFile]:
    """Every file below a folder that should hold a record.

    Args:
        root: The folder; a run's own folder too.
        is_closed: See `IsClosed`.

    Raises:
        UsageError: if it is no folder, or cannot be read.
    """
    try:
        yield from _folder(str(root), "", is_closed)
    except NotADirectoryError as error:
        raise UsageError(f"{root} is no folder", "name a folder of runs: sentinel runs runs") from (
            error
        )
    except FileNotFoundError as error:
        if root.exists():
            raise
        raise UsageError(
            f"there is no folder {root}",
            "name a folder of runs: sentinel runs FOLDER; `sentinel run` makes runs/",
        ) from error
    except PermissionError as error:
        raise UsageError(
            f"cannot read {error.filename}: {error.strerror}", "name a folder that can be read"
        ) from error


def stamp_of(path: str) -> Stamp:
    """The stamp of a file or folder; `NONE` if it is not there."""
    try:
        return stamp_of_status(os.stat(path))  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return NONE


def stamp_of_status(found: os.stat_result) -> Stamp:
    """What of a file's status changes with its content."""
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _folder(folder: str, inside: str, is_closed: IsClosed) -> Iterator[RecordFile]:
    stamp = stamp_of(f"{folder}/{RECORD_FILE}")
    if stamp != NONE:
        cells = f"{folder}/{_CELLS}"
        found = RecordFile(inside or ".", stamp, stamp_of(cells))
        yield found
        if found.cells != NONE and not is_closed(found):
            yield from _cells(cells, inside)
        return
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.name.endswith(KEPT_SUFFIX):
                yield RecordFile(_join(inside, entry.name), stamp_of(entry.path), NONE)
    for name in folders:
        if not name.startswith("."):
            yield from _folder(f"{folder}/{name}", _join(inside, name), is_closed)


def _cells(folder: str, inside: str) -> Iterator[RecordFile]:
    """The runs among the cells of a run."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        stamp = stamp_of(f"{folder}/{name}/{RECORD_FILE}")
        if stamp != NONE:
            yield RecordFile(_join(inside, f"{_CELLS}/{name}"), stamp, NONE)


def _join(inside: str, name: str) -> str:
    return f"{inside}/{name}" if inside else name
