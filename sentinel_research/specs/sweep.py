"""A recipe carried out for several models, every cell with a record of its own."""

from typing import Annotated, Any

from pydantic import Field

from sentinel_research.specs.base import Spec


class SweepSpec(Spec):
    """Models x everything that the recipe's other sections make a grid of.

    Cells are loaded, tokenised and calibrated for once, recorded one by one, and may be computed on
    several machines. Without `models` it is a sweep of the recipe's one model."""

    models: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")], dict[str, Any]] = Field(
        default_factory=dict
    )
    """Models by name, each with the keys of `model` that it has for itself, such as
    `{pretrained: FOLDER}`; what is left out stays as in `model`."""
