"""`sentinel runs`: list the records of a folder, filter them, and export what they measured."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from sentinel_research.store import Found, Table
    from sentinel_research.store.index import Refreshed

_HEADERS = ("recipe", "model", "status", "cells", "started", "headline", "path")
_WORTH_SAYING = 200


def runs(
    folder: Path = Path("runs"),
    *,
    where: Annotated[list[str] | None, Parameter(negative="")] = None,
    since: str | None = None,
    until: str | None = None,
    failed: Annotated[bool, Parameter(negative="")] = False,
    export: Path | None = None,
    rows: Literal["cells", "measurements", "runs"] = "cells",
    format_: Annotated[Literal["text", "json"], Parameter(name="--format")] = "text",
    fresh: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """List the runs below a folder, the newest first, or export what they measured.

    An index in the folder, .runs-index.sqlite, keeps what was read; a record that changed is read
    again. Files that are no record are named on stderr and left out.

    Parameters
    ----------
    folder
        A folder of runs, a run, or a folder of kept records (.json.xz).
    where
        Condition KEY=VALUE, also !=, <, <=, > and >= (repeatable, all must hold); KEY is recipe,
        model, status, scorer, fraction, task, metric or any other column of an export.
    since
        Only runs that began then or later: 2026-01-31, or 2026-01-31T18:00.
    until
        Only runs that began then or before.
    failed
        Only runs that failed, or a cell or check of which did.
    export
        Write a table to this file instead of listing: .csv, .json or .parquet.
    rows
        Of the table: cells, with a column for every metric; measurements; or runs.
    format_
        Of the list: text or json.
    fresh
        Read every record again.
    """
    from sentinel_research.store import Query, open_store
    from sentinel_research.store.export import as_json, check_ending, write_table

    query = Query(tuple(where or ()), since, until, failed)
    if export is not None:
        check_ending(export)
    found = open_store(folder, fresh=fresh, told=_tell)
    _warn(found.refreshed)
    listed = {
        "cells": found.list_cells,
        "measurements": found.list_measurements,
        "runs": found.list_runs,
    }
    table = found.list_runs(query) if export is None else listed[rows](query)
    if table.num_rows == 0:
        _explain(found, query)
    if export is not None:
        write_table(table, export)
        print(export)
    elif format_ == "json":
        print(as_json(table), end="")
    elif table.num_rows:
        print("\n".join(_lines(table)))
    return 0


def _tell(num: int) -> None:
    if num >= _WORTH_SAYING:
        print(f"reading {num:,} records ...", file=sys.stderr, flush=True)


def _warn(refreshed: "Refreshed") -> None:
    problems = list(refreshed.problems.values())
    if problems:
        number = f"{len(problems)} of {refreshed.num_files} files are no record and left out:"
        print("\n  ".join([number, *problems]), file=sys.stderr)
    for note in refreshed.notes:
        print(note, file=sys.stderr)


def _explain(found: "Found", query: Any) -> None:
    num = found.refreshed.num_files - len(found.refreshed.problems)
    if num == 0:
        print("there are no runs here", file=sys.stderr)
        return
    lines = [f"none of {num} runs is as asked", *found.explain_nothing(query)]
    print("\n  ".join(lines), file=sys.stderr)


def _lines(table: "Table") -> list[str]:
    columns = table.columns
    texts: list[tuple[str, ...]] = [_HEADERS]
    for at in range(table.num_rows):
        row = {name: values[at] for name, values in columns.items()}
        cells = f"{row['num_done_cells']}/{row['num_cells']}"
        failures = [
            f"{row[key]} {words}"
            for key, words in (("num_failed_cells", "failed"), ("num_failed_checks", "checks"))
            if row[key]
        ]
        headline = "-"
        if row["headline"] is not None:
            headline = f"{row['headline_metric']} {row['headline']:.4g} ({row['headline_cell']})"
        texts.append(
            (
                row["recipe"] + (" (synthetic)" if row["synthetic_data"] else ""),
                row["model"] or "-",
                row["status"],
                ", ".join([cells, *failures]),
                row["started_at"][:16].replace("T", " "),
                headline,
                row["path"],
            )
        )
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]
