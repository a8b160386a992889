"""What a run is a baseline for, and how far its metrics may move."""

from typing import Annotated, Literal

from pydantic import Field

from sentinel_research.specs.base import Spec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Part of a file name: letters, digits, dots, dashes and underscores."""


class Exact(Spec):
    """The metric has the very value that was accepted, to the last bit."""

    kind: Literal["exact"] = "exact"

    def __str__(self) -> str:
        return "exact equality"


class Relative(Spec):
    """The metric differs by at most a share of the accepted value."""

    kind: Literal["relative"] = "relative"
    fraction: float = Field(default=1e-5, gt=0, lt=1)
    """Largest difference, as a share of the accepted value. The default is a hundred times what the
    suite cpu-smoke differs by from one kind of CPU to the next; one answer that changes is beyond
    it."""

    def __str__(self) -> str:
        return f"a relative tolerance of {self.fraction:g}"


class Statistical(Spec):
    """The metric differs by no more than the sampling errors of both values explain."""

    kind: Literal["statistical"] = "statistical"
    level: float = Field(default=0.001, gt=0, lt=0.5)
    """Chance that two unrelated samples of one truth differ by more; two-sided, normal. Both runs
    read the same documents, so a difference of that size has another cause far sooner than that."""

    def __str__(self) -> str:
        return f"a statistical tolerance of level {self.level:g}"


Tolerance = Annotated[Exact | Relative | Statistical, Field(discriminator="kind")]


class BaselineSpec(Spec):
    """Which baselines the run's models are judged by; no number depends on it."""

    suite: Name
    """Folder of the baselines."""
    model: Name
    """What the run's model is called in it; what was made of it is told apart by the cell's id."""
    tolerances: dict[str, Tolerance] = Field(default_factory=dict)
    """By metric or `task/metric`; the others are relative on a CPU, and statistical elsewhere."""
