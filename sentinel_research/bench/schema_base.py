"""What every section of the file of `sentinel bench` is made of."""

import math
import statistics
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from sentinel_research.record import Check
from sentinel_research.specs import Spec

Size = Literal["tiny", "124m"]
"""`124m`: the shape of GPT-2 small; `tiny`: a rehearsal."""


class Row(Spec):
    model_config = ConfigDict(allow_inf_nan=False)


class Ratio(Row):
    """Median of paired ratios and its interval."""

    median: float = Field(gt=0)
    """Of `measured / alternative` over the pairs."""
    low: float = Field(gt=0)
    """Lower end of the interval, one of the ratios."""
    high: float = Field(gt=0)
    """Upper end of the interval, one of the ratios."""
    coverage: float = Field(ge=0, lt=1)
    """Probability with which such intervals contain the median of independent ratios."""


class Comparison(Row):
    """One thing and its alternative, timed in turns in one process."""

    name: str
    """Unique in its section."""
    measured: str
    """What was timed."""
    alternative: str
    """What it is compared with."""
    num_pairs: int = Field(ge=2)
    """Rounds in which both were timed."""
    wall_seconds: tuple[tuple[float, float], ...]
    """Per pair the time that passed, measured and alternative."""
    cpu_seconds: tuple[tuple[float, float], ...]
    """Per pair the time on all processors, measured and alternative."""
    wall: Ratio
    """Of the wall times."""
    cpu: Ratio
    """Of the processor times."""

    @model_validator(mode="after")
    def _follows_from_the_pairs(self) -> "Comparison":
        for clock in ("wall", "cpu"):
            pairs: tuple[tuple[float, float], ...] = getattr(self, f"{clock}_seconds")
            if len(pairs) != self.num_pairs:
                raise ValueError(f"{len(pairs)} {clock} times for {self.num_pairs} pairs")
            median = statistics.median(measured / other for measured, other in pairs)
            stated = getattr(self, clock).median
            if not math.isclose(median, stated, rel_tol=1e-9):
                raise ValueError(f"{clock} median {stated} is not that of the pairs, {median}")
        return self


class Conditions(Row):
    """Under which a section was measured."""

    measured_at: str
    """UTC, ISO 8601."""
    seconds: float = Field(ge=0)
    """Duration of the section."""
    device: str
    """Processor model or CUDA device."""
    num_threads: int = Field(gt=0)
    """Threads that torch computes with."""
    num_processors: int | None
    """Processors of the machine."""
    load_average: float | None
    """Of the minute before, processes; null where the system keeps none."""
    dtype: str
    """Type of the weights."""
    commit: str | None
    """Git commit of the package; null without a checkout."""
    has_changes: bool | None
    """True if the checkout differed from the commit."""
    packages: dict[str, str]
    """Versions, torch and transformers among them."""
    platform: str
    """Operating system."""


class BenchModel(Row):
    """The model that was measured; its weights are random, times do not depend on them."""

    family: str
    """transformers' `model_type`."""
    num_layers: int
    """Decoder layers."""
    num_heads: int | None
    """Query heads of a layer; null without attention, and so are the next."""
    num_kv_heads: int | None
    """Key/value heads of a layer."""
    hidden_size: int
    """Width of the residual stream."""
    num_parameters: int
    """Parameters, tied ones once."""
    attn_implementation: str | None
    """Attention kernel."""


class Section(Row):
    """What every section holds."""

    conditions: Conditions
    """Under which it was measured."""
    model: BenchModel
    """What was measured."""
    comparisons: tuple[Comparison, ...]
    """Paired times."""
    checks: tuple[Check, ...] = ()
    """What the times had to show; none at size `tiny`, whose times mean nothing."""
