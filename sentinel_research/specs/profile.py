"""What `sentinel profile` is asked."""

import math
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.cost import CostSpec

UNITS = ("head", "kv_group", "neuron", "layer")
"""What a combination can remove."""
Bits = Literal[4, 8, 16, 32]


class Combination(Spec):
    """How much of a model goes, and in how many bits the rest is held."""

    head: float = Field(default=0.0, ge=0, lt=1)
    """Share of the query heads of every layer."""
    kv_group: float = Field(default=0.0, ge=0, lt=1)
    """Share of the key/value heads of every layer, with all their query heads."""
    neuron: float = Field(default=0.0, ge=0, lt=1)
    """Share of the feed-forward neurons of every layer."""
    layer: float = Field(default=0.0, ge=0, lt=1)
    """Share of the layers."""
    bits: Bits = 32
    """Of the projections: 32 leaves them as they are, 16 is float16, 8 and 4 whole numbers."""

    @model_validator(mode="after")
    def _heads_go_one_way(self) -> Self:
        if self.head and self.kv_group:
            raise ValueError(
                f"head={self.head:g} and kv_group={self.kv_group:g} both take heads: give one"
            )
        return self

    @property
    def fractions(self) -> dict[str, float]:
        """Of the kinds that lose something."""
        return {kind: value for kind in UNITS if (value := getattr(self, kind))}

    @property
    def name(self) -> str:
        """As it is typed: `head=0.5,neuron=0.5,bits=8`; `nothing` removes nothing."""
        parts = [f"{kind}={value:.3g}" for kind, value in self.fractions.items()]
        parts += [f"bits={self.bits}"] if self.bits != 32 else []
        return ",".join(parts) or "nothing"


class TargetSpec(Spec):
    """A speed-up to reach at the least loss of quality."""

    speed_up: float = Field(gt=1)
    """Times as fast as the dense model, median of paired ratios."""
    phase: Literal["prefill", "decode", "both"] = "both"
    """Where."""
    search: Literal["greedy", "optuna"] = "greedy"
    """`greedy` takes the step of least loss for its gain, again and again; `optuna` samples
    combinations by TPE (pip install sentinel-research[search])."""
    num_trials: int = Field(default=60, gt=0)
    """Combinations that optuna tries."""
    num_steps: int = Field(default=4, gt=1)
    """Parts that every kind of unit is cut into."""
    units: tuple[Literal["head", "kv_group", "neuron", "layer"], ...] = ("head", "neuron", "layer")
    """What may go."""
    bits: tuple[Bits, ...] = (32,)
    """In how many bits the rest may be held."""
    seed: int = Field(default=0, ge=0)
    """Of optuna's sampler."""

    @property
    def phases(self) -> tuple[str, ...]:
        """Those that have to reach it."""
        return ("prefill", "decode") if self.phase == "both" else (self.phase,)


class ProfileSpec(Spec):
    """One profile: models, what is done to them, and how it is measured."""

    model: str
    """Folder, name below SENTINEL_MODELS or hub id; or `shape:WIDTH`, a random GPT-2."""
    combinations: tuple[Combination, ...] = ()
    """Prunings that are measured beside the dense model."""
    scorer: str | None = None
    """Chooses the units; null is gate_gradient with text and magnitude_l2 without."""
    corpus: str | None = None
    """Text for scorers and for quality; without one, random tokens and the distance to the dense
    model's own predictions."""
    num_sequences: int = Field(default=32, gt=1)
    """Sequences of text, of calibration and of quality each."""
    sequence_length: int = Field(default=64, gt=1)
    """Tokens of each."""
    levels: tuple[Literal[0, 1, 2, 3], ...] = ()
    """Ways to run one pruned model: 0 multiplies by gates, 1 skips silent units, 2 removes them, 3
    compiles what is left."""
    integration: bool = False
    """Measure agency's gates and extra paths over levels of pruning."""
    attention: bool = False
    """Time one attention block over 32 to 512 tokens."""
    target: TargetSpec | None = None
    """Search for a combination."""
    cost: CostSpec = CostSpec()
    """How it is timed."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Type of all weights."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""

    @model_validator(mode="after")
    def _levels_have_a_pruning(self) -> Self:
        if self.levels and not self.combinations:
            raise ValueError("optimisation levels are of a pruned model: give --prune too")
        return self


def parse_combination(text: str) -> Combination:
    """Read `head=0.5,neuron=0.5,layer=0.33,bits=8`.

    Raises:
        ValueError: with what is wrong and what is accepted.

    Example:
        >>> parse_combination("head=0.5,bits=8").fractions
        {'head': 0.5}
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        kind, sign, value = part.partition("=")
        if kind not in (*UNITS, "bits") or not sign:
            raise ValueError(
                f"'{part}' is no part of a pruning; accepted are {', '.join(UNITS)} with a "
                "fraction and bits: --prune head=0.5,neuron=0.5,bits=8"
            )
        if kind in found:
            raise ValueError(f"'{text}' gives {kind} twice")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"'{value}' of {kind} is no number; write {kind}=0.5") from None
        if not math.isfinite(number):
            raise ValueError(f"'{value}' of {kind} is not finite; write {kind}=0.5")
        found[kind] = int(number) if kind == "bits" and number.is_integer() else number
    return Combination.model_validate(found)
