"""Where the index of a folder is kept: one SQLite file, `.runs-index.sqlite`, in the folder.

Several processes may use it at once, without locks and also over a network: a file that was written
is never changed, another takes its place whole. Of two that write, the later one wins, and what
only the other had read is read again. The file carries a checksum of its bytes, and the digest of
the code that made it: with another code, or another byte, it is made anew.
"""

import functools
import hashlib
import os
import secrets
import sqlite3
import struct
import zlib
from pathlib import Path

from sentinel_research import record
from sentinel_research.store import columns

INDEX_FILE = ".runs-index.sqlite"
# SQLite's `user_version`, four bytes of the header that it leaves to us
_CHECKSUM_AT = 60
_HEADER_BYTES = 100


def empty() -> sqlite3.Connection:
    """A database in memory with the tables of the index.

    `files`: what is known of every file; `runs` and `cells`: the columns of `columns`; `keys`: what
    was ever measured; `layouts`: which keys a cell has, as a JSON list, and `layout_keys` the same
    row by row. The numbers of a cell are packed in one blob, value and standard error in turns.
    """
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(_schema())
    return database


def load(root: Path, notes: list[str]) -> sqlite3.Connection | None:
    """The kept index of a folder, not to be changed.

    Args:
        root: The folder.
        notes: Gets a line if the file is damaged.

    Returns:
        None if there is none, or none that this code made.
    """
    path = root / INDEX_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(f"the index {path} cannot be read ({error.strerror}): all records are read")
        return None
    try:
        if len(content) < _HEADER_BYTES or _checksum(content) != _stated(content):
            raise sqlite3.DatabaseError("its checksum is wrong")
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        database = sqlite3.connect(uri, uri=True, isolation_level=None)
        (made_by,) = database.execute("SELECT digest FROM made_by").fetchone()
    except sqlite3.DatabaseError as error:
        notes.append(f"the index {path} was damaged ({error}) and is made anew")
        return None
    return database if made_by == code_digest() else None


def in_memory(database: sqlite3.Connection) -> sqlite3.Connection:
    """A copy of what was loaded that can be changed."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    database.backup(copy)
    copy.execute("BEGIN")
    return copy


def store(database: sqlite3.Connection, root: Path) -> list[str]:
    """Keep a database as the index of a folder.

    Args:
        database: In memory; what is open in it is committed.
        root: The folder.

    Returns:
        Why it could not be kept, if so: every record is read again next time.
    """
    if database.in_transaction:
        database.execute("COMMIT")
    path = root / INDEX_FILE
    temporary = path.with_name(f"{INDEX_FILE}.{secrets.token_hex(4)}")
    try:
        try:
            _write(database, temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, sqlite3.OperationalError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return [f"the index cannot be kept in {root} ({why}): every record is read each time"]
    return []


@functools.cache
def code_digest() -> str:
    """Of the code that says what is in the index."""
    paths = [Path(record.__file__), *sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _write(database: sqlite3.Connection, path: Path) -> None:
    target = sqlite3.connect(path, isolation_level=None)
    try:
        # nobody else knows the file yet
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        database.backup(target)
    finally:
        target.close()
    with path.open("r+b") as file:
        checksum = _checksum(file.read())
        file.seek(_CHECKSUM_AT)
        file.write(struct.pack(">I", checksum))
        file.flush()
        os.fsync(file.fileno())


def _checksum(content: bytes) -> int:
    """Of all bytes but those that hold it."""
    view = memoryview(content)
    return zlib.crc32(view[_CHECKSUM_AT + 4 :], zlib.crc32(view[:_CHECKSUM_AT]))


def _stated(content: bytes) -> int:
    (found,) = struct.unpack_from(">I", content, _CHECKSUM_AT)
    return int(found)


def _schema() -> str:
    def of(kinds: dict[str, columns.Kind]) -> str:
        return ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())

    stamps = ", ".join(
        f"{prefix}{name} INTEGER"
        for prefix in ("", "cells_")
        for name in ("size", "mtime_ns", "ctime_ns", "inode")
    )
    return f"""
        BEGIN;
        CREATE TABLE made_by (digest TEXT);
        INSERT INTO made_by VALUES ('{code_digest()}');
        CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT UNIQUE, {stamps},
            is_settled INTEGER, is_closed INTEGER, problem TEXT);
        CREATE TABLE runs (id INTEGER PRIMARY KEY, {of(columns.RUN)});
        CREATE TABLE cells (id INTEGER PRIMARY KEY, run_id INTEGER, layout_id INTEGER,
            numbers BLOB, {of(columns.CELL)});
        CREATE INDEX cells_of_run ON cells (run_id);
        CREATE TABLE keys (id INTEGER PRIMARY KEY, {of(columns.KEY)});
        CREATE TABLE layouts (id INTEGER PRIMARY KEY, key_ids TEXT);
        CREATE TABLE layout_keys (layout_id INTEGER, key_id INTEGER);
    """  # noqa: S608
