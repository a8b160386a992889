"""What a model costs to run: size, operations, time, memory and loading, each measured.

`cost` measures one model, alone or in turns with another; `costs` several in turns with one.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel_research.cost.measure import cost, costs
    from sentinel_research.cost.schema import CostReport

_LAZY = {"CostReport": "schema", "cost": "measure", "costs": "measure"}

__all__ = ["CostReport", "cost", "costs"]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
