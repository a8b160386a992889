"""On which grid weights are rounded, and where in a pruning that happens."""

from typing import Literal

from pydantic import Field

from sentinel_research.specs.base import Spec


class QuantiseSpec(Spec):
    """A uniform grid for every output of a projection, or for every group of its inputs."""

    bits: int = Field(ge=2, le=8)
    """Of one weight."""
    group_size: int | None = Field(default=None, gt=0)
    """Consecutive inputs that share a grid; the last group of an output may have fewer. Null: all
    inputs of an output."""
    symmetric: bool = True
    """`2^bits - 1` values around zero; false: `2^bits` values from the least to the largest weight,
    zero among them."""


class PruneQuantiseSpec(QuantiseSpec):
    """Quantisation as a part of pruning."""

    when: Literal["scores", "before", "after", "joint"]
    """`scores`: the scorer sees quantised weights, what stays keeps its own; `before`: the model is
    quantised, scored and pruned; `after`: what pruning leaves is quantised; `joint`: as `scores`,
    and what stays is quantised."""

    @property
    def grid(self) -> QuantiseSpec:
        """The grid alone."""
        return QuantiseSpec(**self.model_dump(exclude={"when"}))
