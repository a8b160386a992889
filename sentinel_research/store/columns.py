"""The columns of runs, cells and measurements, in the order in which they are shown."""

from typing import Literal

Kind = Literal["TEXT", "INTEGER", "REAL"]
"""SQLite's name of a column's type; true and false are 1 and 0."""

RUN: dict[str, Kind] = {
    "path": "TEXT",
    "recipe": "TEXT",
    "recipe_fingerprint": "TEXT",
    "model": "TEXT",
    "status": "TEXT",
    "started_at": "TEXT",
    "finished_at": "TEXT",
    "synthetic_data": "INTEGER",
    "commit": "TEXT",
    "device": "TEXT",
    "num_cells": "INTEGER",
    "num_done_cells": "INTEGER",
    "num_failed_cells": "INTEGER",
    "num_failed_checks": "INTEGER",
    "headline_cell": "TEXT",
    "headline_task": "TEXT",
    "headline_metric": "TEXT",
    "headline": "REAL",
    "error": "TEXT",
}
"""Of a run. `path` is its folder below the one that is listed, or the file of a kept record."""

CELL: dict[str, Kind] = {
    "cell": "TEXT",
    "cell_status": "TEXT",
    "arm": "TEXT",
    "arm_seed": "INTEGER",
    "learning_rate": "REAL",
    "is_tuning": "INTEGER",
    "fine_tuned_on": "TEXT",
    "variant": "TEXT",
    "scorer": "TEXT",
    "granularity": "TEXT",
    "fraction": "REAL",
    "form": "TEXT",
    "prune_seed": "INTEGER",
    "calibration_seed": "INTEGER",
    "recovery": "TEXT",
    "recovery_seed": "INTEGER",
    "cell_failed_checks": "INTEGER",
    "evaluation_seconds": "REAL",
    "cell_error": "TEXT",
}
"""Of a cell."""

KEY: dict[str, Kind] = {
    "task": "TEXT",
    "metric": "TEXT",
    "filter": "TEXT",
    "higher_is_better": "INTEGER",
}
"""Of what was measured."""

NUMBERS: dict[str, Kind] = {"value": "REAL", "stderr": "REAL"}
"""Of one measurement."""

CELL_RUN: tuple[str, ...] = (
    "path",
    "recipe",
    "recipe_fingerprint",
    "model",
    "status",
    "started_at",
    "finished_at",
    "synthetic_data",
    "commit",
    "device",
)
"""What a cell's row says of its run."""

FLAGS = frozenset({"synthetic_data", "is_tuning", "higher_is_better"})
"""Columns that are true or false."""
