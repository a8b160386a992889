"""The file of `sentinel profile`."""

from typing import Literal

from pydantic import Field

from sentinel_research.bench.schema import AttentionSection
from sentinel_research.cost.schema import CostReport
from sentinel_research.specs.profile import Combination, ProfileSpec
from sentinel_research.timing import Median, Row


class Loss(Row):
    """How well a model predicts, beside the dense one, on text that no choice has seen."""

    measure: str
    """What is measured."""
    nats: float
    """Mean per token."""
    loss: float
    """More than the dense model, nats per token."""
    low: float
    """Of the 95 percent interval of the loss, over sequences."""
    high: float


class Profiled(Row):
    """One model of a part."""

    cost: CostReport
    quality: Loss | None = None
    """Null where there is no text."""


class LevelsPart(Row):
    """One pruned model at several optimisation levels; the alternative is the dense model."""

    combination: Combination
    largest_difference: dict[str, float]
    """Level -> of a logit from level 0, by the largest logit or 1."""
    rows: tuple[Profiled, ...]
    """`dense`, and `level N`."""
    between: dict[str, dict[str, Median]]
    """Phase -> level -> times as fast as level 0, of the same rounds."""


class Look(Row):
    """One combination of a search."""

    combination: Combination
    loss: float
    """Nats per token on the text that the search compares on."""
    predicted: dict[str, float]
    """Speed-up by phase, by arithmetic."""
    measured: dict[str, Median] | None = None
    """Speed-up by phase; null where it was not timed."""
    reaches: bool = False


class TargetPart(Row):
    """A search."""

    measure: str
    """What the loss is."""
    looks: tuple[Look, ...]
    """In order."""
    best: Look | None
    """The one of least loss that reaches the target, else the nearest to it."""
    quality: Loss | None
    """Of the best, on other text."""
    cost: CostReport | None
    """Of the best, measured once more."""
    bits_speed_up: dict[str, dict[str, float]]
    """Bits -> phase -> how many times as fast the dense model is in them, measured."""
    exported: str | None = None
    """Folder with the plan and the model, where files are written."""


class ProfileReport(Row):
    """One profile; parts that are not there were not asked for, or not measured yet."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    spec: ProfileSpec
    """What was asked."""
    prunings: tuple[Profiled, ...] | None = None
    """`dense`, and every combination."""
    levels: tuple[LevelsPart, ...] | None = None
    integration: tuple[Profiled, ...] | None = None
    """`dense`, and gates and extra paths at levels of pruning, `ARM/PERCENT`."""
    attention: AttentionSection | None = None
    target: TargetPart | None = None
    recommendations: tuple[str, ...] = Field(default=())
    """Only what the intervals tell from no difference."""
