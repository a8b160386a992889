"""Architectures that are trained from scratch and compared, all by one protocol."""

import re
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.agency import AgencySpec
from sentinel_research.specs.base import Spec
from sentinel_research.specs.model import ConfigValue

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
NGRAM_PREFIX = "ngram"
"""How the cells of n-gram models begin; no compared architecture is called so."""


class ArchitectureSpec(Spec):
    """One of the compared architectures."""

    architecture: str
    """Registered architecture (`sentinel ls architectures`)."""
    config: dict[str, ConfigValue] = Field(default_factory=dict)
    """Keyword arguments of its configuration class; `match` changes width or depth."""
    agency: AgencySpec | None = None
    """Head gates and extra paths to add to it, at rest; all that they have counts in its size."""


class MatchSpec(Spec):
    """What all compared architectures have in common, within a tolerance."""

    what: Literal["parameters", "flops"]
    """`parameters`: those outside embeddings and output head; `flops`: operations of training, by
    token, at the training sequence length."""
    target: int = Field(gt=0)
    """How many."""
    vary: Literal["width", "depth"] = "width"
    """What is solved for; what one step of it leaves, the feed-forward width (else the state size)
    takes up."""
    tolerance: float = Field(default=0.01, gt=0, lt=1)
    """Largest deviation, as a share of the target."""

    def in_words(self) -> str:
        """The target for messages."""
        unit = "non-embedding parameters" if self.what == "parameters" else "FLOPs per token"
        return f"{self.target:,} {unit}"


class CompareSpec(Spec):
    """Several architectures, each trained on the same batches over the same seeds."""

    architectures: dict[str, ArchitectureSpec] = Field(min_length=1)
    """The compared architectures under names of your own."""
    seeds: list[int] = Field(min_length=1)
    """Initialisation and data order; every architecture gets each of them."""
    learning_rates: list[float] = Field(default_factory=list)
    """Grid of peak learning rates, tried with the first seed, the same for every architecture; that
    of the lowest validation loss is used with all seeds. Empty: `train.learning_rate`."""
    match: MatchSpec | None = None
    """Equal size for all; null takes the configurations as they are."""
    control: str | None = None
    """The one of `architectures` that each other is compared with; null compares every pair."""
    ngrams: list[int] = Field(default_factory=lambda: [1, 2, 3])
    """Orders of the n-gram models that are fitted as floors, on as many different blocks as every
    network sees."""
    save_models: bool = True
    """Keep every trained checkpoint; else it is deleted once it was measured."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for name in self.architectures:
            if not _NAME.fullmatch(name) or name.startswith(NGRAM_PREFIX):
                raise ValueError(
                    f"'{name}' cannot be a name: take small letters, digits and _.-, and no "
                    f"beginning with '{NGRAM_PREFIX}'"
                )
        if self.control is not None and self.control not in self.architectures:
            raise ValueError(
                f"`control` = '{self.control}' is none of `architectures`: "
                f"{', '.join(self.architectures)}"
            )
        self._check_baselines()
        for key in ("seeds", "learning_rates", "ngrams"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"`{key}` names a value twice: {values}")
        if any(rate <= 0 for rate in self.learning_rates):
            raise ValueError(f"`learning_rates` must be above 0, got {self.learning_rates}")
        if any(order < 1 for order in self.ngrams):
            raise ValueError(f"`ngrams` are orders from 1 on, got {self.ngrams}")
        return self

    @property
    def baselines(self) -> dict[str, str]:
        """Which of `architectures` runs frozen beside which, by the name of the latter."""
        named = {
            name: one.agency.compared_baseline
            for name, one in self.architectures.items()
            if one.agency is not None
        }
        return {name: found for name, found in named.items() if found is not None}

    def _check_baselines(self) -> None:
        names = list(self.architectures)
        for name, baseline in self.baselines.items():
            # they are trained in this order
            before = names[: names.index(name)]
            if baseline not in before:
                raise ValueError(
                    f"the baseline of '{name}' is `compare:{baseline}`: name one of "
                    f"`architectures` before it ({', '.join(before) or 'there is none'})"
                )
            if self.architectures[baseline].agency is not None:
                raise ValueError(f"the baseline '{baseline}' of '{name}' must be without `agency`")
