"""Which runs, cells and metrics are wanted: conditions of the form KEY=VALUE, and dates."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.store.columns import CELL, FLAGS, KEY, RUN, Kind

_FORM = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
_EXAMPLES = "for example: --where scorer=entropy_low --where 'fraction>=0.5' --where model='*gpt2*'"
_MODEL = "COALESCE(cells.arm, runs.model)"
"""Of a cell: in a comparison the architecture's name."""
NO_CONDITION = "1"
"""The SQL that every row fulfils."""
_FLAG_WORDS = {"true": 1, "false": 0, "1": 1, "0": 0}
KEYS = "layout_keys JOIN keys ON keys.id = layout_keys.key_id"
"""The metrics of every layout of a cell."""


class Query(NamedTuple):
    """Which rows are wanted."""

    where: tuple[str, ...] = ()
    """Conditions that must all hold: `KEY=VALUE` with a column of runs, cells or metrics;
    also `!=`, and `<`, `<=`,
    `>`, `>=` for numbers. Several values with commas are any of them; `*`, `?` and `[...]` stand
    for any letters."""
    since: str | None = None
    """Only runs that began then or later; ISO 8601, UTC where no zone is given."""
    until: str | None = None
    """Only runs that began then or before; a date includes its whole day."""
    is_failed: bool = False
    """Only runs that failed, or a cell or check of which did."""


class Clause(NamedTuple):
    """A part of an SQL condition, with the values of its marks."""

    sql: str
    values: tuple[str | float, ...]


class Clauses(NamedTuple):
    """The conditions of a query."""

    of_cells: Clause
    """On `runs LEFT JOIN cells`."""
    of_keys: Clause | None
    """On `keys`; None if every metric is wanted."""


def clauses(query: Query) -> Clauses:
    """A query as SQL; every value is passed beside it, never inside.

    Raises:
        UsageError: for a condition of another form, an unknown key, a number or a date that is
            none.
    """
    cells, keys = [Clause(NO_CONDITION, ())], list[Clause]()
    for condition in query.where:
        name, clause = _condition(condition)
        (keys if name in KEY else cells).append(clause)
    if query.since is not None:
        start = _moment(query.since, "--since")
        cells.append(Clause("julianday(runs.started_at) >= julianday(?)", (start.isoformat(),)))
    if query.until is not None:
        end = _moment(query.until, "--until")
        is_day = len(query.until.strip()) <= len("2026-01-01")
        sign, end = ("<", end + timedelta(days=1)) if is_day else ("<=", end)
        cells.append(Clause(f"julianday(runs.started_at) {sign} julianday(?)", (end.isoformat(),)))
    if query.is_failed:
        failed = "runs.status = 'failed' OR num_failed_cells > 0 OR num_failed_checks > 0"
        cells.append(Clause(f"({failed})", ()))
    if not keys:
        return Clauses(_all(cells), None)
    of_keys = _all(keys)
    layouts = f"SELECT layout_id FROM {KEYS} WHERE {of_keys.sql}"  # noqa: S608
    return Clauses(_all([*cells, Clause(f"layout_id IN ({layouts})", of_keys.values)]), of_keys)


def columns_named(where: Sequence[str]) -> list[str]:
    """The columns that conditions are about, each once."""
    return list(dict.fromkeys(_condition(one)[0] for one in where))


def expression(name: str) -> str:
    """A column in SQL, by its name in the tables that a user sees."""
    if name == "model":
        return _MODEL
    table = "runs" if name in RUN else "cells" if name in CELL else "keys"
    return f'{table}."{name}"'


def _all(found: list[Clause]) -> Clause:
    values = tuple(value for one in found for value in one.values)
    return Clause(" AND ".join(one.sql for one in found), values)


def _condition(text: str) -> tuple[str, Clause]:
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"--where {text!r} is not of the form KEY=VALUE", _EXAMPLES)
    name, sign, asked = match.groups()
    kinds: dict[str, Kind] = {**RUN, **CELL, **KEY}
    if name not in kinds:
        raise UsageError(f"--where {text!r}: unknown key '{name}'", did_you_mean(name, kinds))
    column, is_text = expression(name), kinds[name] == "TEXT"
    if sign not in ("=", "!="):
        if is_text:
            raise UsageError(f"--where {text!r}: {name} is text, and has no order", "take = or !=")
        return name, Clause(f"{column} {sign} ?", (_number(name, asked, text),))
    parts = [_is(column, name, part.strip(), text, is_text) for part in asked.split(",")]
    values = tuple(value for part in parts for value in part.values)
    any_of = f"COALESCE({' OR '.join(part.sql for part in parts)}, 0)"
    return name, Clause(any_of if sign == "=" else f"NOT {any_of}", values)


def _is(column: str, name: str, value: str, text: str, is_text: bool) -> Clause:
    if not is_text:
        return Clause(f"{column} = ?", (_number(name, value, text),))
    is_pattern = any(letter in value for letter in "*?[")
    return Clause(f"{column} {'GLOB' if is_pattern else '='} ?", (value,))


def _number(name: str, value: str, text: str) -> float:
    if name in FLAGS:
        if value.strip().lower() not in _FLAG_WORDS:
            raise UsageError(f"--where {text!r}: {value!r} is no yes or no", "take true or false")
        return _FLAG_WORDS[value.strip().lower()]
    try:
        return float(value)
    except ValueError as error:
        raise UsageError(
            f"--where {text!r}: {name} is a number, and {value!r} is none",
            f"for example: --where {name}=0.5",
        ) from error


def _moment(text: str, flag: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{flag} {text!r} is no date", f"for example: {flag} 2026-01-31, or 2026-01-31T18:00"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
