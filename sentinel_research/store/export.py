"""A table as a file: CSV, JSON or parquet, by the file's ending."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from sentinel_research.errors import UsageError
from sentinel_research.files import write_atomically
from sentinel_research.store.columns import FLAGS
from sentinel_research.store.tables import Table


def check_ending(path: Path) -> None:
    """Refuse a file that no table can be written to.

    Raises:
        UsageError: for another ending, or a folder that is not there.
    """
    if path.suffix not in _WRITERS:
        raise UsageError(
            f"{path} ends with '{path.suffix}'", f"take one of: {', '.join(sorted(_WRITERS))}"
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", "create it, or name another file")


def write_table(table: Table, path: Path) -> None:
    """Write a table atomically.

    Args:
        table: What `None` is in it is empty in CSV, and null elsewhere.
        path: A file that ends with .csv, .json (a list of objects) or .parquet.

    Raises:
        UsageError: see `check_ending`.
        SentinelError: if the file cannot be written.
    """
    check_ending(path)
    write_atomically(path, _WRITERS[path.suffix](table))


def as_json(table: Table) -> str:
    """A table as a strict JSON list of objects, one a row."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows()]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def _as_csv(table: Table) -> bytes:
    target = io.StringIO(newline="")
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(table.columns)
    words = {True: "true", False: "false", None: ""}
    columns = [
        [words[value] for value in values] if name in FLAGS else values
        for name, values in table.columns.items()
    ]
    writer.writerows(zip(*columns, strict=True))
    return target.getvalue().encode()


def _as_parquet(table: Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"TEXT": pa.string(), "REAL": pa.float64(), "INTEGER": pa.int64()}
    arrays = {
        name: pa.array(values, pa.bool_() if name in FLAGS else types[table.kinds[name]])
        for name, values in table.columns.items()
    }
    target = io.BytesIO()
    pq.write_table(pa.table(arrays), target, compression="zstd")
    return target.getvalue()


_WRITERS: dict[str, Callable[[Table], str | bytes]] = {
    ".csv": _as_csv,
    ".json": as_json,
    ".parquet": _as_parquet,
}
