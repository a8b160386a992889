"""The index of a folder of runs: what `extract` found in every record, so that none is read twice.

It is derived and safe to delete, and cannot disagree with the records in silence: a row counts only
for the size, times and inode that its file has now, else the record is read again. A file that had
changed less than two seconds before it was read is read again next time, as the clock of a file
system may not tell two such changes apart. A row of a file that is gone goes too.
"""

import json
import lzma
import math
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel_research.errors import UsageError
from sentinel_research.record import RECORD_FILE
from sentinel_research.store import columns, index_file
from sentinel_research.store.extract import KEPT_SUFFIX, Extract, Measured, extract, parse_record
from sentinel_research.store.walk import NONE, RecordFile, Stamp, stamp_of_status, walk

# clocks of file systems count in up to two seconds
_SETTLED_NS = 2_000_000_000
_INT64 = range(-(2**63), 2**63)


class Refreshed(NamedTuple):
    """How an index was brought into agreement with the records."""

    num_files: int
    """Files of records, damaged ones too."""
    num_read: int
    """Those that were read now."""
    problems: dict[str, str]
    """Path -> why a file is no record."""
    notes: list[str]
    """What a user should know of the index itself."""


class _Known(NamedTuple):
    id: int
    stamp: Stamp
    cells: Stamp
    is_settled: bool
    """Whether the file cannot have changed since without showing it."""
    is_closed: bool
    """Whether the run is over, and has no runs below."""
    is_over: bool
    """Whether it is over."""

    def holds_for(self, file: RecordFile) -> bool:
        return self.is_settled and self.stamp == file.stamp


def silently(_num: int) -> None:
    """Tell nobody."""


def open_index(
    root: Path, *, fresh: bool = False, told: Callable[[int], object] = silently
) -> tuple[sqlite3.Connection, Refreshed]:
    """The index of a folder, in agreement with its records.

    Args:
        root: A folder of runs, or a run.
        fresh: Read every record again.
        told: Called with the number of records that are about to be read, if there are any.

    Returns:
        A database with the tables of `index_file`, and what was read. An interruption keeps what
        was read up to there; where the folder cannot be written, a note says so.

    Raises:
        UsageError: if there is no such folder.
    """
    notes: list[str] = []
    loaded = None if fresh else index_file.load(root, notes)
    database = loaded or index_file.empty()
    known = {row[0]: _known(row) for row in database.execute(_KNOWN)}
    files = {file.path: file for file in walk(root, lambda file: _is_closed(known, file))}
    to_read = [file for path, file in files.items() if not _holds(known, file, path)]
    gone = [one.id for path, one in known.items() if path not in files]
    relabelled = _relabelled(known, files, {file.path for file in to_read})
    is_changed = bool(loaded is None or to_read or gone or relabelled)
    if loaded is not None and is_changed:
        database = index_file.in_memory(loaded)
    _forget(database, gone)
    database.executemany(_RELABEL, relabelled)
    if to_read:
        told(len(to_read))
    reader = _Reader(database, root, _parents(files))
    try:
        for file in to_read:
            reader.read(file, known.get(file.path))
    finally:
        if is_changed:
            notes += index_file.store(database, root)
    problems = dict(database.execute("SELECT path, problem FROM files WHERE problem NOT NULL"))
    return database, Refreshed(len(files), len(to_read), problems, notes)


_KNOWN = """SELECT files.path, files.id, size, mtime_ns, ctime_ns, inode, cells_size,
cells_mtime_ns, cells_ctime_ns, cells_inode, is_settled, is_closed, status = 'done'
FROM files LEFT JOIN runs USING (id)"""
_RELABEL = """UPDATE files SET cells_size = ?, cells_mtime_ns = ?, cells_ctime_ns = ?,
cells_inode = ?, is_closed = ? WHERE id = ?"""


def _known(row: tuple[int, ...]) -> _Known:
    stamps = Stamp(*row[2:6]), Stamp(*row[6:10])
    return _Known(row[1], *stamps, *(bool(one) for one in row[10:]))


def _holds(known: dict[str, _Known], file: RecordFile, path: str) -> bool:
    return path in known and known[path].holds_for(file)


def _is_closed(known: dict[str, _Known], file: RecordFile) -> bool:
    one = known.get(file.path)
    return one is not None and one.is_closed and one.holds_for(file) and one.cells == file.cells


def _relabelled(
    known: dict[str, _Known], files: dict[str, RecordFile], unread: set[str]
) -> list[tuple[int, ...]]:
    """Rows that hold but for what is in the folder `cells`, with what is there now."""
    parents, found = _parents(files), list[tuple[int, ...]]()
    for path, file in files.items():
        if path in unread or file.cells == NONE:
            continue
        one = known[path]
        is_closed = one.is_over and path not in parents and _is_settled(file.cells)
        if (one.cells, one.is_closed) != (file.cells, is_closed):
            found.append((*file.cells, int(is_closed), one.id))
    return found


def _parents(paths: Iterable[str]) -> set[str]:
    """The runs that have runs among their cells."""
    parts = (path.split("/") for path in paths)
    return {"/".join(one[:-2]) or "." for one in parts if one[-2:-1] == ["cells"]}


def _is_settled(stamp: Stamp) -> bool:
    return time.time_ns() - stamp.changed_ns > _SETTLED_NS


def _forget(database: sqlite3.Connection, ids: Iterable[int]) -> None:
    for one in ids:
        for table, key in (("cells", "run_id"), ("runs", "id"), ("files", "id")):
            database.execute(f"DELETE FROM {table} WHERE {key} = ?", (one,))  # noqa: S608


class _Reader:
    """Puts what records say into a database."""

    def __init__(self, database: sqlite3.Connection, root: Path, parents: set[str]) -> None:
        self._database, self._root, self._parents = database, root, parents
        rows = database.execute("SELECT task, metric, filter, higher_is_better, id FROM keys")
        self._keys: dict[tuple[object, ...], int] = {tuple(row[:4]): row[4] for row in rows}
        self._layouts = dict(database.execute("SELECT key_ids, id FROM layouts"))

    def read(self, file: RecordFile, known: _Known | None) -> None:
        """Read a file that was found, in place of what was known of it."""
        if known is not None:
            _forget(self._database, [known.id])
        is_kept = file.path.endswith(KEPT_SUFFIX)
        name = file.path if is_kept else f"{file.path}/{RECORD_FILE}".removeprefix("./")
        stamp, settled, found, problem = file.stamp, False, None, None
        try:
            with (self._root / name).open("rb") as opened:
                # of what is read, also where another record has just taken its place
                stamp = stamp_of_status(os.fstat(opened.fileno()))
                settled = _is_settled(stamp)
                content = opened.read()
            found = extract(parse_record(content, Path(name)))
        except FileNotFoundError:
            return
        except OSError as error:
            problem = f"{name} cannot be read: {error.strerror}"
        except UsageError as error:
            problem = error.message
        except (lzma.LZMAError, UnicodeError, RecursionError) as error:
            problem = f"{name} is not a run record: {error}"
        is_over = found is not None and found.run["status"] == "done"
        # of another record than the one that was seen before its cells were looked into, nothing
        is_same = is_over and stamp == file.stamp
        is_closed = is_same and file.path not in self._parents and _is_settled(file.cells)
        row = (file.path, *stamp, *file.cells, settled, is_closed, problem)
        marks = ", ".join("?" * len(row))
        cursor = self._database.execute(f"INSERT INTO files VALUES (NULL, {marks})", row)  # noqa: S608
        assert cursor.lastrowid is not None  # of a row that was inserted
        if found is not None:
            self._add(cursor.lastrowid, file.path, found)

    def _add(self, run_id: int, path: str, found: Extract) -> None:
        run = {"path": path, **found.run}
        self._insert("runs", run_id, [run[name] for name in columns.RUN])
        for cell, measured in zip(found.cells, found.measured, strict=True):
            layout = self._layout([self._key(one) for one in measured])
            values = [run_id, layout, pack(measured), *(cell[name] for name in columns.CELL)]
            self._insert("cells", None, values)

    def _insert(self, table: str, row_id: int | None, values: Sequence[object]) -> int:
        row = (row_id, *(_storable(value) for value in values))
        marks = ", ".join("?" * len(row))
        cursor = self._database.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _key(self, one: Measured) -> int:
        key = one[:4]
        if key not in self._keys:
            self._keys[key] = self._insert("keys", None, list(key))
        return self._keys[key]

    def _layout(self, keys: list[int]) -> int:
        text = json.dumps(keys)
        if text not in self._layouts:
            self._layouts[text] = self._insert("layouts", None, [text])
            rows = [(self._layouts[text], key) for key in keys]
            self._database.executemany("INSERT INTO layout_keys VALUES (?, ?)", rows)
        return self._layouts[text]


def pack(measured: Sequence[Measured]) -> bytes:
    """The numbers of a cell: value and standard error in turns, NaN where there is no error."""
    numbers = [
        number
        for one in measured
        for number in (one.value, math.nan if one.stderr is None else one.stderr)
    ]
    return struct.pack(f"<{len(numbers)}d", *numbers)


def _storable(value: object) -> object:
    """Numbers beyond 64 bits as text, text as SQLite takes it."""
    if isinstance(value, int) and value not in _INT64:
        return str(value)
    # half of a pair, which JSON can name and UTF-8 cannot
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
