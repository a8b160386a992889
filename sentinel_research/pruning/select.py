"""Choose which units go, given their importance. No torch.

Units leave one after the other, the least important first, equal importance by kind, layer and
index. Under a budget of costs importance counts per cost, except for units of negative importance:
without them the model is better, so they leave first, the worst of them first. The order does not
depend on the fraction, so a larger fraction always contains a smaller one. How many leave follows
from a budget: a share of the units, or of what they cost.
"""

import fractions
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from sentinel_research.errors import UsageError

Scores = Mapping[str, Sequence[Sequence[float]]]
"""Per kind and layer the importance of every unit; higher is more important."""
Chosen = Mapping[str, Sequence[Sequence[int]]]
"""Per kind and layer local indices of units."""
BLOCKS = ("attention", "ffn", "layer")


class Unit(NamedTuple):
    """One unit, by local index."""

    kind: str
    layer: int
    local: int


class Cost(NamedTuple):
    """What removing units saves."""

    of_unit: Callable[[Unit], float]
    """Of one unit by itself; the order is by importance per cost where importance is positive."""
    of_all: Callable[[Chosen], float]
    """Of several units together, exactly."""


class Selection(NamedTuple):
    """Which units were chosen to go."""

    removed: dict[str, tuple[tuple[int, ...], ...]]
    """Per kind and layer local indices of the chosen units, ascending."""
    requested: float
    """What the fraction asked for: units, or their cost."""
    achieved: float
    """What the chosen units come to."""

    @property
    def num_removed(self) -> int:
        """Units chosen."""
        return sum(len(layer) for layers in self.removed.values() for layer in layers)

    @property
    def shortfall(self) -> float:
        """What had to stay, because of the minimum per layer or because units are whole."""
        return self.requested - self.achieved


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


def normalised(scores: Scores) -> dict[str, list[list[float]]]:
    """Scores divided by their L2 norm in every layer, for each kind by itself.

    Reference: Molchanov et al. 2017, section 2.3 (layer-wise l2 normalisation),
    https://arxiv.org/abs/1611.06440. A layer of zeros stays as it is.
    """
    found: dict[str, list[list[float]]] = {}
    for kind, layers in scores.items():
        norms = [math.sqrt(math.fsum(value * value for value in layer)) for layer in layers]
        found[kind] = [
            [value / norm for value in layer] if norm else list(layer)
            for layer, norm in zip(layers, norms, strict=True)
        ]
    return found


def select(
    scores: Scores,
    fraction: float,
    *,
    scope: Literal["local", "global"] = "local",
    min_per_layer: int = 1,
    cost: Cost | None = None,
    first: Chosen | None = None,
) -> Selection:
    """Choose the least important units.

    Args:
        scores: Importance of every unit. Several kinds are ranked together in `global` scope. A
            block and its own parts are counted once only there, and by cost: `PruneSpec` refuses
            them elsewhere.
        fraction: Share of the budget to remove, in [0, 1], rounded down to whole units.
        scope: `local` takes the share of every layer and kind; `global` of all units together,
            comparing scores as they are. Blocks (one a layer) are always ranked together.
        min_per_layer: Units of a kind that stay in every layer; blocks have no minimum.
        cost: What the fraction is a share of; None counts units.
        first: Units that leave before all others, in the order of their importance too; for every
            kind of the scores.

    Returns:
        The selection.

    Raises:
        UsageError: if the fraction is outside [0, 1] or a score is not finite.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction {fraction} is not in [0, 1]")
    _check_finite(scores)
    shape = {kind: [len(layer) for layer in layers] for kind, layers in scores.items()}
    taken: list[Unit] = []
    requested = achieved = 0.0
    for pool in _pools(shape, scope):
        order = _ranked(pool, scores, min_per_layer, cost, first)
        if cost is None:
            wanted = num_units(fraction, len(pool))
            mine = order[:wanted]
            requested, achieved = requested + wanted, achieved + len(mine)
        else:
            target = fraction * cost.of_all(_by_layer(pool, shape))
            mine, spent = _affordable(order, shape, target, cost)
            requested, achieved = requested + target, achieved + spent
        taken += mine
    return Selection(_by_layer(taken, shape), requested, achieved)


def _check_finite(scores: Scores) -> None:
    for kind, layers in scores.items():
        for layer, values in enumerate(layers):
            for unit, value in enumerate(values):
                if not math.isfinite(value):
                    raise UsageError(
                        f"score of {kind} {unit} in layer {layer} is {value}",
                        "The model's weights or activations are not finite, or the scorer is "
                        "broken.",
                    )


def _pools(shape: Mapping[str, Sequence[int]], scope: str) -> list[list[Unit]]:
    """Groups of units that a share is taken of separately."""
    units = {
        (kind, layer): [Unit(kind, layer, index) for index in range(count)]
        for kind, layers in shape.items()
        for layer, count in enumerate(layers)
    }
    if scope == "global":
        return [[unit for pool in units.values() for unit in pool]]
    blocks = [unit for (kind, _), pool in units.items() if kind in BLOCKS for unit in pool]
    others = [pool for (kind, _), pool in units.items() if kind not in BLOCKS]
    return [*others, *([blocks] if blocks else [])]


def _ranked(
    pool: Sequence[Unit],
    scores: Scores,
    min_per_layer: int,
    cost: Cost | None,
    first: Chosen | None,
) -> list[Unit]:
    """The units that may go, the first to go first."""
    kinds = list(scores)

    def key(unit: Unit) -> tuple[bool, float, int, int, int]:
        value = scores[unit.kind][unit.layer][unit.local]
        if value >= 0:
            saved = cost.of_unit(unit) if cost else 1.0
            # a unit that saves nothing (a block already emptied) goes last
            value = value / saved if saved else math.inf
        waits = first is not None and unit.local not in first[unit.kind][unit.layer]
        # the model is better off without a negative one, however little it saves
        return waits, value, kinds.index(unit.kind), unit.layer, unit.local

    order = sorted(pool, key=key)
    left = {(u.kind, u.layer): len(scores[u.kind][u.layer]) for u in order}
    free = []
    for unit in order:
        place = unit.kind, unit.layer
        if unit.kind in BLOCKS or left[place] > min_per_layer:
            left[place] -= 1
            free.append(unit)
    return free


def _affordable(
    order: Sequence[Unit], shape: Mapping[str, Sequence[int]], target: float, cost: Cost
) -> tuple[list[Unit], float]:
    """The longest beginning of the order that costs no more than the target."""
    # a cost of exactly the target is affordable, whatever its last bit
    limit = target * (1 + 1e-12)
    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        if cost.of_all(_by_layer(order[:middle], shape)) <= limit:
            low = middle
        else:
            high = middle - 1
    return list(order[:low]), cost.of_all(_by_layer(order[:low], shape))


def _by_layer(
    units: Iterable[Unit], shape: Mapping[str, Sequence[int]]
) -> dict[str, tuple[tuple[int, ...], ...]]:
    found: dict[str, list[list[int]]] = {
        kind: [[] for _ in layers] for kind, layers in shape.items()
    }
    for unit in units:
        found[unit.kind][unit.layer].append(unit.local)
    return {kind: tuple(tuple(sorted(layer)) for layer in layers) for kind, layers in found.items()}
