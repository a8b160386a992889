"""A search for the settings of a training, the same for everything that is compared."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sentinel_research.specs.base import Spec

Scale = Literal["log", "linear"]
Range = tuple[float, float, Scale]
# the range of each where a training makes sense at all; 0 is the open end of a positive number
_LIMITS: dict[str, tuple[float, float]] = {
    "learning_rate": (0.0, float("inf")),
    "weight_decay": (0.0, float("inf")),
    "warmup_fraction": (0.0, 1.0),
    "min_learning_rate_fraction": (0.0, 1.0),
    "max_grad_norm": (0.0, float("inf")),
}


def _default_space() -> dict[str, Range]:
    return {"learning_rate": (1e-4, 1e-2, "log")}


class TuneSpec(Spec):
    """Trials of every compared architecture: budget, space, sampler and pruner are the same for
    all. The loss on the validation split chooses; the evaluated documents choose nothing."""

    trials: int = Field(gt=0)
    """Trainings of every architecture, with the first seed; one that diverges or is stopped early
    counts."""
    space: dict[str, Range] = Field(default_factory=_default_space, min_length=1)
    """Settings of `train` that are searched, each with its lowest and highest value, and whether
    it is drawn by its logarithm (`log`) or not (`linear`)."""
    sampler: Literal["tpe", "random"] = "tpe"
    """optuna's tree-structured Parzen estimator, or independent draws."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the sampler; trials of the same number draw alike in every architecture."""
    pruner: Literal["median", "none"] = "median"
    """`median` stops a trial whose validation loss is above the median of the earlier ones at the
    same step, once four are complete."""

    @field_validator("space")
    @classmethod
    def _can_be_searched(cls, space: dict[str, Range]) -> dict[str, Range]:
        for name, (low, high, scale) in space.items():
            if name not in _LIMITS:
                raise ValueError(f"'{name}' cannot be searched, only: {', '.join(_LIMITS)}")
            least, most = _LIMITS[name]
            if not low < high:
                raise ValueError(f"`{name}`: [{low:g}, {high:g}] is no range: low is below high")
            if low < least or high > most or (scale == "log" and low <= 0):
                above = "above 0" if scale == "log" else f"at least {least:g}"
                raise ValueError(f"`{name}`: [{low:g}, {high:g}] must be {above}, at most {most:g}")
            if name == "learning_rate" and low <= 0:
                raise ValueError(f"`learning_rate`: {low:g} must be above 0")
        return space

    def in_words(self) -> str:
        """The search for people."""
        ranges = ", ".join(
            f"{name} {low:g} to {high:g} ({scale})"
            for name, (low, high, scale) in self.space.items()
        )
        return f"{self.trials} trials of each architecture over {ranges}"

    @property
    def names(self) -> list[str]:
        """The searched settings in the order in which they are drawn."""
        return sorted(self.space)
