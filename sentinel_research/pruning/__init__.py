"""Pruning: score, plan, and apply by removal, by mask or by zeros in place.

`PruningPlan` is pure data; importing it loads no torch. The other names load it on first use.
"""

import importlib
from typing import TYPE_CHECKING

from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan, parse_plan

if TYPE_CHECKING:
    from sentinel_research.pruning.algebra import difference, merge, transfer
    from sentinel_research.pruning.apply import Planned, Pruned, plan_units, prune
    from sentinel_research.pruning.baking import bake, baked_plan, shrink_baked
    from sentinel_research.pruning.expanding import expand
    from sentinel_research.pruning.gates import gate_units, mask
    from sentinel_research.pruning.loading import load
    from sentinel_research.pruning.report import PruneReport
    from sentinel_research.pruning.score import Scores, score_units
    from sentinel_research.pruning.scoring import ScoringInputs
    from sentinel_research.pruning.surgery import remove
    from sentinel_research.pruning.withdrawn import plan_from_states

_LAZY = {
    "Planned": "apply",
    "PruneReport": "report",
    "Pruned": "apply",
    "Scores": "score",
    "ScoringInputs": "scoring",
    "bake": "baking",
    "baked_plan": "baking",
    "difference": "algebra",
    "expand": "expanding",
    "gate_units": "gates",
    "load": "loading",
    "mask": "gates",
    "merge": "algebra",
    "plan_from_states": "withdrawn",
    "plan_units": "apply",
    "prune": "apply",
    "remove": "surgery",
    "score_units": "score",
    "shrink_baked": "baking",
    "transfer": "algebra",
}

__all__ = [
    "Planned",
    "PruneReport",
    "Pruned",
    "PruningPlan",
    "Scores",
    "ScoringInputs",
    "bake",
    "baked_plan",
    "difference",
    "expand",
    "gate_units",
    "load",
    "make_plan",
    "mask",
    "merge",
    "parse_plan",
    "plan_from_states",
    "plan_units",
    "prune",
    "remove",
    "score_units",
    "shrink_baked",
    "transfer",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
