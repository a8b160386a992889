"""Runs, cells and measurements as tables, from the index."""

import json
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.store.columns import (
    CELL,
    CELL_RUN,
    FLAGS,
    KEY,
    NUMBERS,
    RUN,
    Kind,
)
from sentinel_research.store.index import Refreshed, open_index, silently
from sentinel_research.store.query import (
    KEYS,
    NO_CONDITION,
    Clauses,
    Query,
    clauses,
    columns_named,
    expression,
)

_JOINED = "runs LEFT JOIN cells ON cells.run_id = runs.id"
_ORDER = "started_at DESC, path"
VALUE, STDERR = "", " stderr"
"""What stands behind the name of a metric's column."""
_MOST_VALUES = 20


class Table(NamedTuple):
    """Columns of equal length."""

    kinds: dict[str, Kind]
    """Type of every column, in order."""
    columns: dict[str, list[Any]]
    """Values, None where there is none; what `columns.FLAGS` names is true or false."""

    @property
    def num_rows(self) -> int:
        """Values of a column."""
        return len(next(iter(self.columns.values())))

    def rows(self) -> list[tuple[Any, ...]]:
        """The values row by row."""
        return list(zip(*self.columns.values(), strict=True))


class Layout(NamedTuple):
    """The numbers of cells that measured the same."""

    keys: tuple[int, ...]
    """What they measured."""
    places: list[int]
    """Their rows."""
    numbers: list[bytes]
    """Of each cell value and standard error in turns, little-endian float64; NaN is none."""

    def unpacked(self) -> dict[tuple[int, str], list[float | None]]:
        """The numbers of every key, `VALUE` and `STDERR`, one for each row."""
        if not self.keys:
            return {}
        rows = struct.iter_unpack(f"<{2 * len(self.keys)}d", b"".join(self.numbers))
        names = [(key, of) for key in self.keys for of in (VALUE, STDERR)]
        return {
            name: [None if value != value else value for value in column]
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }


class Cells(NamedTuple):
    """Cells as the index has them: what they share is there once, and numbers are packed."""

    runs: Table
    """A row for every run."""
    at: list[int]
    """The row in `runs` of every cell."""
    own: Table
    """A row for every cell."""
    layouts: list[Layout]
    """What was measured."""

    def unpacked(self) -> Table:
        """A row for every cell, without its metrics; in a comparison `model` is the cell's own."""
        columns = {name: [values[i] for i in self.at] for name, values in self.runs.columns.items()}
        arms = zip(self.own.columns["arm"], columns["model"], strict=True)
        columns["model"] = [arm or model for arm, model in arms]
        return Table({**self.runs.kinds, **self.own.kinds}, {**columns, **self.own.columns})


class Found(NamedTuple):
    """The records of a folder."""

    database: sqlite3.Connection
    """See `index.open_index`."""
    refreshed: Refreshed
    """What was read, and what could not be."""

    def list_runs(self, query: Query) -> Table:
        """A row for every run that has a cell, or itself is, as asked; the newest first.

        Raises:
            UsageError: see `query.clauses`.
        """
        asked = clauses(query).of_cells
        chosen = f"SELECT runs.id FROM {_JOINED} WHERE {asked.sql}"  # noqa: S608
        names = ", ".join(f'"{name}"' for name in RUN)
        rows = self.database.execute(
            f"SELECT {names} FROM runs WHERE id IN ({chosen}) ORDER BY {_ORDER}",  # noqa: S608
            asked.values,
        ).fetchall()
        return _table(dict(RUN), rows)

    def list_cells(self, query: Query) -> Table:
        """A row for every cell, and beside what it is a column for every metric and its standard
        error; cells that were not measured are there too.

        Raises:
            UsageError: see `query.clauses`.
        """
        cells, labels = self.packed(query)
        table = cells.unpacked()
        for layout in cells.layouts:
            for (key, of), values in layout.unpacked().items():
                if key not in labels:
                    continue
                name = labels[key] + of
                table.kinds[name] = "REAL"
                column = table.columns.setdefault(name, [None] * table.num_rows)
                for place, value in zip(layout.places, values, strict=True):
                    column[place] = value
        return table

    def list_measurements(self, query: Query) -> Table:
        """A row for every measurement of every cell.

        Raises:
            UsageError: see `query.clauses`.
        """
        asked = clauses(query)
        cells, keys, found = self._cells(asked), self._keys(asked), []
        for layout in cells.layouts:
            numbers = layout.unpacked()
            for order, key in enumerate(layout.keys):
                if key in keys:
                    pairs = zip(numbers[key, VALUE], numbers[key, STDERR], strict=True)
                    found += [
                        (place, order, *keys[key], *pair)
                        for place, pair in zip(layout.places, pairs, strict=True)
                    ]
        found.sort(key=lambda row: row[:2])
        measured = _table({**KEY, **NUMBERS}, [row[2:] for row in found])
        table = cells.unpacked()
        own = {name: [values[row[0]] for row in found] for name, values in table.columns.items()}
        return Table({**table.kinds, **measured.kinds}, {**own, **measured.columns})

    def packed(self, query: Query) -> "tuple[Cells, dict[int, str]]":
        """The cells that are asked for, and what the columns of their metrics are called.

        Raises:
            UsageError: see `query.clauses`.
        """
        asked = clauses(query)
        return self._cells(asked), self._labels(asked)

    def explain_nothing(self, query: Query) -> list[str]:
        """For every column that a condition is about, the values that it has."""
        found = []
        for name in columns_named(query.where):
            over = KEYS if name in KEY else _JOINED
            rows = self.database.execute(
                f"SELECT DISTINCT {expression(name)} FROM {over} ORDER BY 1"  # noqa: S608
            ).fetchall()
            values = [f"{one:g}" if isinstance(one, float) else str(one) for (one,) in rows if one]
            more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
            found.append(f"{name} is one of: {', '.join(values[:_MOST_VALUES]) or 'none'}{more}")
        return found

    def _cells(self, asked: Clauses) -> "Cells":
        """The cells that are asked for, the newest run's first."""
        names = ", ".join(f'"{name}"' for name in CELL)
        rows = self.database.execute(
            f"SELECT run_id, layout_id, numbers, {names} FROM cells{_chosen(asked)} ORDER BY id",  # noqa: S608
            asked.of_cells.values,
        ).fetchall()
        names = ", ".join(f'"{name}"' for name in CELL_RUN)
        ordered = self.database.execute(f"SELECT id, {names} FROM runs ORDER BY {_ORDER}")  # noqa: S608
        runs = ordered.fetchall()
        rank = {row[0]: place for place, row in enumerate(runs)}
        rows.sort(key=lambda row: rank[row[0]])
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row[1], []).append(place)
        layouts = self.database.execute("SELECT id, key_ids FROM layouts")
        return Cells(
            _table({name: RUN[name] for name in CELL_RUN}, [row[1:] for row in runs]),
            [rank[row[0]] for row in rows],
            _table(dict(CELL), [row[3:] for row in rows]),
            [
                Layout(
                    tuple(json.loads(keys)), places[layout], [rows[at][2] for at in places[layout]]
                )
                for layout, keys in layouts
                if layout in places
            ],
        )

    def _keys(self, asked: Clauses) -> dict[int, tuple[Any, ...]]:
        """Every metric that is asked for."""
        sql, values = asked.of_keys or (NO_CONDITION, ())
        names = ", ".join(f'"{name}"' for name in KEY)
        rows = self.database.execute(f"SELECT id, {names} FROM keys WHERE {sql}", values)  # noqa: S608
        return {row[0]: row[1:] for row in rows}

    def _labels(self, asked: Clauses) -> dict[int, str]:
        """What the column of a metric is called: `TASK/METRIC`, with lm-eval's filter behind."""
        return {
            key: f"{task}/{metric}" + (f" ({filter_})" if filter_ != "none" else "")
            for key, (task, metric, filter_, _) in self._keys(asked).items()
        }


def _chosen(asked: Clauses) -> str:
    if asked.of_cells.sql == NO_CONDITION:
        return ""
    return f" WHERE id IN (SELECT cells.id FROM {_JOINED} WHERE {asked.of_cells.sql})"  # noqa: S608


def open_store(
    folder: Path, *, fresh: bool = False, told: Callable[[int], object] = silently
) -> Found:
    """The records below a folder; see `index.open_index`."""
    return Found(*open_index(folder, fresh=fresh, told=told))


def _table(kinds: dict[str, Kind], rows: list[tuple[Any, ...]]) -> Table:
    found = zip(*rows, strict=True) if rows else (() for _ in kinds)
    columns = {name: list(values) for name, values in zip(kinds, found, strict=True)}
    for name in FLAGS & kinds.keys():
        columns[name] = [None if one is None else bool(one) for one in columns[name]]
    return Table(kinds, columns)
