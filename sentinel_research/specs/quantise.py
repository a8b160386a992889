"""On which grid weights are rounded, where in a pruning that happens, and how they are stored."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

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


class StoreSpec(Spec):
    """How a model's projections are held in memory and in files."""

    bits: Literal[4, 8, 16]
    """Of one weight: whole numbers on a symmetric grid, or float16."""
    activations: Literal["auto", "float", "int8"] = "auto"
    """What the projections multiply: `float` rounds weights alone; `int8`, with 8 bits, activations
    too, every token's on a grid of its own. `auto` is what computes fastest: int8 with 8 bits on a
    CPU that has such products, else float."""

    @model_validator(mode="after")
    def _has_product(self) -> Self:
        if self.activations == "int8" and self.bits != 8:
            raise ValueError(
                f"`activations: int8` goes with `bits: 8`; with {self.bits} bits weights alone are "
                "rounded (`activations: float`)"
            )
        return self

    @property
    def group_size(self) -> int | None:
        """Inputs of an output that share a step; null: all of them, or there are no steps."""
        return 64 if self.bits == 4 else None

    @property
    def grid(self) -> QuantiseSpec | None:
        """The weights' grid; null for 16 bits."""
        if self.bits == 16:
            return None
        return QuantiseSpec(bits=self.bits, group_size=self.group_size)
