"""Head pruning: score, plan, and apply by removal or by mask.

`PruningPlan` is pure data; importing it loads no torch. The other names load it on first use.
"""

import importlib
from typing import TYPE_CHECKING

from sentinel_research.pruning.plan import PruningPlan, make_plan, parse_plan

if TYPE_CHECKING:
    from sentinel_research.pruning.apply import (
        Planned,
        Pruned,
        Scores,
        plan_heads,
        prune,
        score_heads,
    )
    from sentinel_research.pruning.calibrate import ScoringInputs
    from sentinel_research.pruning.gates import gate_heads, mask
    from sentinel_research.pruning.report import PruneReport
    from sentinel_research.pruning.surgery import remove

_LAZY = {
    "Planned": "apply",
    "PruneReport": "report",
    "Pruned": "apply",
    "Scores": "apply",
    "ScoringInputs": "calibrate",
    "gate_heads": "gates",
    "mask": "gates",
    "plan_heads": "apply",
    "prune": "apply",
    "remove": "surgery",
    "score_heads": "apply",
}

__all__ = [
    "Planned",
    "PruneReport",
    "Pruned",
    "PruningPlan",
    "Scores",
    "ScoringInputs",
    "gate_heads",
    "make_plan",
    "mask",
    "parse_plan",
    "plan_heads",
    "prune",
    "remove",
    "score_heads",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
