"""Choose which units go, given their importance. No torch.

A unit is a query head or a KV group. Units leave one after the other, the least important first,
equal importance by layer and index; the order does not depend on the fraction, so a larger fraction
always contains a smaller one.
"""

import fractions
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sentinel_research.errors import UsageError

Scores = Sequence[Sequence[float]]


class Selection(NamedTuple):
    """Which units were chosen to go."""

    removed: tuple[tuple[int, ...], ...]
    """Local indices of the chosen units per layer, ascending."""
    num_requested: int
    """Units that the fraction asked for."""

    @property
    def num_removed(self) -> int:
        """Units chosen."""
        return sum(map(len, self.removed))

    @property
    def shortfall(self) -> int:
        """Units that had to stay because of the minimum per layer."""
        return self.num_requested - self.num_removed


def num_units(fraction: float, total: int) -> int:
    """`floor(fraction * total)` for the fraction as it was written.

    The product of binary floats can fall just below a whole number: `int(0.29 * 100)` is 28.

    Args:
        fraction: In [0, 1].
        total: Number of units.

    Example:
        >>> num_units(0.29, 100)
        29
    """
    return math.floor(fractions.Fraction(repr(float(fraction))) * total)


def select(
    scores: Scores,
    fraction: float,
    *,
    scope: Literal["local", "global"] = "local",
    min_per_layer: int = 1,
) -> Selection:
    """Choose the least important units.

    Args:
        scores: Importance of every unit, per layer; higher is more important.
        fraction: Share of the units to remove, in [0, 1], rounded down to whole units.
        scope: `local` takes the share of every layer; `global` of all units together, comparing
            scores across layers as they are.
        min_per_layer: Units that stay in every layer.

    Returns:
        The selection; `shortfall` counts units that the minimum did not allow to go.

    Raises:
        UsageError: if the fraction is outside [0, 1] or a score is not finite.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction {fraction} is not in [0, 1]")
    for layer, values in enumerate(scores):
        for unit, value in enumerate(values):
            if not math.isfinite(value):
                raise UsageError(
                    f"score of unit {unit} in layer {layer} is {value}",
                    "The model's weights or activations are not finite, or the scorer is broken.",
                )
    budgets = [num_units(fraction, len(values)) for values in scores]
    total = num_units(fraction, sum(map(len, scores)))
    limit = total if scope == "global" else sum(budgets)
    order = sorted(
        (value, layer, unit)
        for layer, values in enumerate(scores)
        for unit, value in enumerate(values)
    )
    removed: list[list[int]] = [[] for _ in scores]
    for _, layer, unit in order:
        if sum(map(len, removed)) == limit:
            break
        room = len(scores[layer]) - min_per_layer
        if scope == "local":
            room = min(room, budgets[layer])
        if len(removed[layer]) < room:
            removed[layer].append(unit)
    return Selection(tuple(tuple(sorted(units)) for units in removed), limit)
