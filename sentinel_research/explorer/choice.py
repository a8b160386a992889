"""What a person has taken out of a model so far."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sentinel_research.pruning.named import named_units, names_of, plan_without
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.structure import Structure, UnitKind

Unit = tuple[UnitKind, int, int]
"""Kind, layer and original index; a block is unit 0."""
_INSIDE: dict[UnitKind, UnitKind] = {"head": "attention", "neuron": "ffn"}


@dataclass(frozen=True)
class Choice:
    """Units that are gone. A block that goes does not forget which of its parts had gone before."""

    gone: frozenset[Unit] = frozenset()

    @classmethod
    def named(cls, structure: Structure, names: Iterable[str]) -> "Choice":
        """The units of these names.

        Raises:
            UsageError: for a name without a unit in this model.
        """
        return cls(frozenset(named_units(structure, names)))

    def toggled(self, units: Iterable[Unit]) -> "Choice":
        """All of these units back if they are all gone, and all of them gone otherwise."""
        asked = frozenset(units)
        return Choice(self.gone - asked if asked <= self.gone else self.gone | asked)

    def replaced(self, kinds: Iterable[UnitKind], units: Iterable[Unit]) -> "Choice":
        """Other units of these kinds gone, and of other kinds the same."""
        others = frozenset(unit for unit in self.gone if unit[0] not in set(kinds))
        return Choice(others | frozenset(units))

    @property
    def acting(self) -> list[Unit]:
        """The units whose absence matters: none of a block that is gone as a whole."""
        return sorted(
            unit
            for unit in self.gone
            if unit[0] not in _INSIDE or (_INSIDE[unit[0]], unit[1], 0) not in self.gone
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many units of every kind are gone, without the parts of blocks that are."""
        return dict(Counter(kind for kind, _, _ in self.acting))

    def plan(self, structure: Structure) -> PruningPlan:
        """The plan that removes them.

        Raises:
            UsageError: if nothing would be left.
        """
        return plan_without(structure, self.gone)

    def names(self, structure: Structure) -> tuple[str, ...]:
        """What is gone, as a recipe names it, without the parts of blocks that are gone."""
        return names_of(self.plan(structure))
