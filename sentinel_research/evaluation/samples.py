"""Per-document samples of an evaluation: JSON lines, or parquet where those would be large.

Both forms give back the same rows, to the last bit of every number. A parquet file has one column
for every key of the rows. A column whose values are all of one type (text, whole numbers, floats,
true or false) is stored as that type; any other holds each value as JSON text, and the file's
metadata names it. A key that a row does not have is null.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentinel_research.files import write_atomically

PARQUET_BYTES = 4 * 2**20
"""Samples that take more than this as JSON lines are stored as parquet.

Parquet takes about a fifth of the space (14 for 69 MB of perplexity samples) and twice the time to
read; small files stay text that a person can look at.
"""
_LINES, _PARQUET = ".jsonl", ".parquet"
_METADATA = b"sentinel_research.samples"
_VERSION = 1
_INT64 = range(-(2**63), 2**63)
Row = dict[str, Any]


def write_samples(folder: Path, task: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Store the samples of a task.

    Args:
        folder: An existing folder.
        task: The task's name, part of the file's.
        rows: In document order, of what JSON reads: no tuples, no NaN, no infinity.

    Returns:
        The name of the file in the folder: `samples_TASK.jsonl`, or `samples_TASK.parquet` for more
        than `PARQUET_BYTES`. A file of the other form, of an earlier evaluation, is deleted.

    Raises:
        ValueError: for a number that is not finite.
        SentinelError: if the folder cannot be written.
    """
    lines = [json.dumps(row, allow_nan=False) for row in rows]
    is_large = sum(map(len, lines)) > PARQUET_BYTES
    suffix, other = (_PARQUET, _LINES) if is_large else (_LINES, _PARQUET)
    path = folder / f"samples_{task}{suffix}"
    write_atomically(path, _as_parquet(rows) if is_large else "\n".join(lines) + "\n")
    path.with_suffix(other).unlink(missing_ok=True)
    return path.name


def read_samples(path: Path) -> list[Row]:
    """The per-document samples stored by `evaluate`, in document order.

    Args:
        path: A file of either form.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged, or no file of samples.
    """
    if path.suffix == _PARQUET:
        return _read_parquet(path)
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {}
    as_json = []
    for key in dict.fromkeys(key for row in rows for key in row):
        kind = _kind([row[key] for row in rows if key in row])
        if kind is None:
            as_json.append(key)
            values = [json.dumps(row[key], allow_nan=False) if key in row else None for row in rows]
            columns[key] = pa.array(values, pa.string())
        else:
            columns[key] = pa.array([row.get(key) for row in rows], pa.type_for_alias(kind))
    # rows without any key have no column to be counted in
    about = json.dumps({"version": _VERSION, "num_rows": len(rows), "json": as_json})
    table = pa.table(columns).replace_schema_metadata({_METADATA: about.encode()})
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    return target.getvalue()


def _kind(values: Sequence[Any]) -> str | None:
    """Arrow's name of the one type that all values have; None if they are to be JSON text."""
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return "int64" if all(value in _INT64 for value in values) else None
    names = {str: "string", float: "float64", bool: "bool"}
    return names.get(kinds.pop()) if len(kinds) == 1 else None


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    # an open file, as pyarrow takes some paths for addresses
    with path.open("rb") as file:
        table = pq.read_table(file)
    about = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    if about.get("version") != _VERSION:
        raise ValueError(f"{path} holds no samples of version {_VERSION}")
    as_json = set(about["json"])
    rows: list[Row] = [{} for _ in range(about["num_rows"])]
    for key in table.column_names:
        for row, value in zip(rows, table.column(key).to_pylist(), strict=True):
            if value is not None:
                row[key] = json.loads(value) if key in as_json else value
    return rows
