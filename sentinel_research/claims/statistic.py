"""The quantities that claims are judged by, as data: what is compared, and on which runs."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.agency import AgencySpec
from sentinel_research.specs.base import Spec
from sentinel_research.specs.baseline import Name
from sentinel_research.specs.model import ConfigValue

SEED = "{seed}"
"""Stands for the seed of a repetition in names of runs and cells."""


class Side(Spec):
    """What is read of every repetition."""

    run: str
    """Name of a measurement, with `/LABEL` behind it where it has several runs."""
    cell: str | tuple[str, ...] | None = None
    """Cell's id, or several whose mean is taken."""
    relative_to: "str | Side | None" = None
    """Cell of the same run whose value is subtracted, or another side; null for none."""
    arm: str | None = None
    """Instead of a cell: which of the compared architectures, in the run of the seed."""
    metric: str | None = None
    """Another metric than the statistic's; null for that one."""


class Paired(Spec):
    """Mean difference of two sides over repetitions, with Student's t interval of the pairs."""

    kind: Literal["paired"] = "paired"
    metric: str
    """`task/metric`; `generation/NAME`, of what the models wrote; or `long_context/START`, nats per
    token at the positions from there on."""
    scale: Literal["log", "linear"] = "linear"
    """Values, or their natural logarithms: differences are then logarithms of ratios."""
    as_ratio: bool = False
    """Give the ratio that a difference of logarithms means."""
    seeds: tuple[int, ...] = Field(min_length=2)
    """Repetitions."""
    first: Side
    """What is compared."""
    second: Side | None = None
    """What is subtracted; null for nothing."""


class Regained(Spec):
    """Share of the lost quality that training brought back, by Fieller's interval of the pairs."""

    kind: Literal["regained"] = "regained"
    metric: str
    """`task/metric`; its logarithm is taken."""
    seeds: tuple[int, ...] = Field(min_length=2)
    """Repetitions."""
    before: Side
    """As pruning left it."""
    after: Side
    """After training."""
    reference: Side
    """What quality is measured against."""


class AgainstRandom(Spec):
    """Mean difference of log values from those of random masks, with Welch's t interval."""

    kind: Literal["against_random"] = "against_random"
    metric: str
    """`task/metric`; its logarithm is taken."""
    draws: tuple[int, ...] = Field(min_length=2)
    """Calibration texts."""
    first: Side
    """What is compared, by draw."""
    seeds: tuple[int, ...] = Field(min_length=2)
    """Random masks."""
    random: Side
    """The random masks, by seed."""


class Times(Spec):
    """A median of ratios of times that were taken in turns, with its order-statistic interval."""

    kind: Literal["times"] = "times"
    section: str
    """Section of the speed file."""
    measured: str | tuple[str, ...]
    """Comparison, or several whose geometric mean is taken round by round."""
    over: str | tuple[str, ...] | None = None
    """Other comparisons, as many, that the ratios are divided by; null for none."""
    same_rounds: bool = True
    """Whether both were timed in the same rounds, so that rounds can be divided; else the intervals
    of both medians are combined."""
    as_speed: bool = False
    """Give how many times as fast, instead of the ratio of times."""
    clock: Literal["cpu", "wall"] = "cpu"
    """Processor time, which other processes hardly touch, or time that passed."""


class Power(Spec):
    """The power of the length with which time grows: the median over rounds of the slope of log
    time over log length, with its order-statistic interval."""

    kind: Literal["power"] = "power"
    section: str
    """Section of the speed file."""
    measured: str
    """Comparisons `measured/LENGTH`."""
    from_length: int = Field(default=1, gt=0)
    """Shorter ones are left out: what every call costs is most of their time."""
    clock: Literal["cpu", "wall"] = "cpu"
    """See `Times`."""


class ParameterGrowth(Spec):
    """Share of parameters that agency adds: counted on the model, exact."""

    kind: Literal["parameter_growth"] = "parameter_growth"
    model_type: str
    """transformers' name of the family."""
    config: dict[str, ConfigValue]
    """Keyword arguments of its configuration class."""
    agency: AgencySpec
    """What is added."""


class TradeOff(Spec):
    """By how much one fraction's gain of speed less its loss of quality exceeds another's.

    Gain: logarithm of how many times as fast. Loss: logarithm of the ratio of perplexities, times
    `weight`."""

    kind: Literal["trade_off"] = "trade_off"
    quality: Paired
    """The loss at the fraction, less the loss at the other one: positive is worse."""
    speed: Times
    """How many times as fast the fraction is as the other one."""
    weight: float = Field(default=1.0, gt=0)
    """Percent of speed that a percent of perplexity is worth."""


Statistic = Annotated[
    Paired | Regained | AgainstRandom | Times | Power | ParameterGrowth | TradeOff,
    Field(discriminator="kind"),
]


class Measurement(Spec):
    """How a run of claims comes about."""

    recipe: Name | None = None
    """Shipped recipe."""
    set: tuple[str, ...] = ()
    """Its `key=value` overrides; the word RUNS in one is the folder of all runs, for models that
    other runs trained."""
    bench: Name | None = None
    """Instead of a recipe: section of `sentinel bench`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.recipe is None) == (self.bench is None):
            raise ValueError("give exactly one of `recipe` and `bench`")
        return self
