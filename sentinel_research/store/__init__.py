"""The records of a folder of runs: listed, filtered, and as tables of cells and metrics."""

from sentinel_research.store.frame import runs
from sentinel_research.store.query import Query
from sentinel_research.store.tables import Found, Table, open_store

__all__ = ["Found", "Query", "Table", "open_store", "runs"]
