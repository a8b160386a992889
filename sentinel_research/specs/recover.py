"""How a pruned model is trained back, and the recoveries that a recipe compares."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.train import TrainSpec

Methods = dict[str, dict[str, Any]]
"""Registered recoveries (`sentinel ls recoveries`) with their options, composed in this order."""


class RecoverSpec(Spec):
    """One recovery: the text and the budget, and what the methods do with them."""

    methods: Methods = Field(default={"full": {}}, min_length=1)
    """Registered recoveries with their options, composed in this order."""
    train: TrainSpec
    """Corpus, steps, batch, learning rate, precision, validation and seed."""
    variant: str | None = None
    """Name of the recipe's variant that this recovery belongs to."""


class RecoverVariant(Spec):
    """What one variant of a recovery does otherwise; what is left out stays as in the grid."""

    methods: Methods | None = Field(default=None, min_length=1)
    """See RecoverSpec."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Fields of `train` with other values."""


class RecoverGrid(Spec):
    """The recoveries of a recipe: variants x seeds, for every pruning.

    The controls are not an option: the dense model trained on the same budget, and random masks of
    the same fraction recovered in the same ways, are part of every run with a recovery.
    """

    methods: Methods = Field(default={"full": {}}, min_length=1)
    """See RecoverSpec."""
    train: TrainSpec
    """See RecoverSpec; its seed is replaced by each of `seeds`."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Repetitions: order of the text and dropout; of the random control also the masks."""
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], RecoverVariant] = Field(
        default_factory=dict
    )
    """Named variants, compared with each other; without any, the grid itself runs."""
    save_models: bool = False
    """Keep every recovered model as a checkpoint folder of the run."""
    layout: Literal["pruned", "dense"] = "pruned"
    """Of what is measured and kept: `dense` puts the weights back into the size of the model before
    pruning, with zeros for what went, as tools expect that know only stock models."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"`seeds` holds a value twice: {self.seeds}")
        # a variant that makes no sense is reported with the recipe, not when its turn comes
        assert all(spec.variant for spec in self.specs)
        return self

    @property
    def specs(self) -> list[RecoverSpec]:
        """Every variant with its name; without variants the grid itself, named by its methods."""
        if not self.variants:
            name = "-".join(self.methods)
            return [RecoverSpec(methods=self.methods, train=self.train, variant=name)]
        return [
            RecoverSpec(
                methods=self.methods if one.methods is None else one.methods,
                train=TrainSpec(**{**self.train.model_dump(), **one.train}),
                variant=name,
            )
            for name, one in self.variants.items()
        ]

    @property
    def controls(self) -> list[RecoverSpec]:
        """How the dense model is trained as a control: once for every different budget."""
        found: list[RecoverSpec] = []
        for spec in self.specs:
            if spec.train not in [one.train for one in found]:
                name = "full" if not found else f"full-{spec.variant}"
                found.append(RecoverSpec(train=spec.train, variant=name))
        return found
