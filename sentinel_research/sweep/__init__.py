"""A recipe carried out as a sweep: many cells of many models, each with a record of its own.

The way of a cell is that of `cells.run_cell`. This package decides which process computes it, keeps
its record, and begins again what failed.
"""

from sentinel_research.sweep.run import Swept, run_sweep

__all__ = ["Swept", "run_sweep"]
