"""What one mask has changed about another, for the record."""

from typing import Any

import numpy as np

from sentinel_research.pruning import PruningPlan


def overlap(one: PruningPlan, other: PruningPlan) -> float:
    """Jaccard overlap of what two plans of one model take away; 1 where neither takes anything."""
    both, either = 0, 0
    for mine, theirs in _taken(one, other):
        both += int((mine & theirs).sum())
        either += int((mine | theirs).sum())
    return both / either if either else 1.0


def changes(before: PruningPlan | None, now: PruningPlan) -> dict[str, Any]:
    """How many units (or weights) went and came back; of units also which."""
    if now.weights:
        pairs = [
            (old if before is not None else np.zeros_like(new), new)
            for old, new in _taken(before or now, now)
        ]
        dropped = sum(int((new & ~old).sum()) for old, new in pairs)
        grown = sum(int((old & ~new).sum()) for old, new in pairs)
        return {"num_dropped": dropped, "num_grown": grown}
    old, new = _labels(before), _labels(now)
    found = {"dropped": sorted(new - old), "grown": sorted(old - new)}
    return {**{f"num_{key}": len(labels) for key, labels in found.items()}, **found}


def _labels(plan: PruningPlan | None) -> set[str]:
    return {label for labels in plan.removed.values() for label in labels} if plan else set()


def _taken(one: PruningPlan, other: PruningPlan) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of both plans what they take away, True in arrays of the same places."""
    if one.weights:
        return [(~one.weights[name].keep(), ~other.weights[name].keep()) for name in one.weights]
    mine, theirs = _labels(one), _labels(other)
    places = sorted(mine | theirs)
    return [
        (
            np.array([place in mine for place in places], dtype=bool),
            np.array([place in theirs for place in places], dtype=bool),
        )
    ]
