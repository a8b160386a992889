"""Prune little by little while the model trains: Zhu and Gupta's schedule.

We differ from [1] in that heads, groups, neurons and blocks can go too, by any scorer; and that a
single weight that went is zero for good, where the code of [1] keeps its value and may bring it
back.

Reference: [1] Zhu & Gupta 2017, To prune, or not to prune, equation 1,
https://arxiv.org/abs/1710.01878.
"""

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.mask_choices import more
from sentinel_research.recoveries.masks import HIDES_WEIGHTS, prune_while_training
from sentinel_research.recoveries.schedules import Shape, gradual_updates
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class GradualOptions(Spec):
    """When units go: the fraction rises from 0 at `begin` to the pruning's at `end`."""

    begin: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps before the schedule starts; the first update is one interval later."""
    end: float = Field(default=0.5, ge=0, lt=1)
    """Share of the steps at the last update; what is left recovers in the rest."""
    num_updates: int = Field(default=10, gt=0)
    """Updates of the mask, at equal distances."""
    shape: Shape = "cubic"
    """`cubic` prunes fast at first, while much can be spared; `linear` evenly."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.end < self.begin:
            raise ValueError(f"`end` = {self.end:g} is before `begin` = {self.begin:g}")
        return self


@recovery(
    "gradual",
    summary="units go little by little during training, re-scored at every update",
    reference="Zhu & Gupta 2017, equation 1, https://arxiv.org/abs/1710.01878",
    options=GradualOptions,
    prunes=True,
    excludes=("lora",),
    why_excluded=HIDES_WEIGHTS,
)
def gradual(inputs: RecoveryInputs, options: GradualOptions) -> Adjustment:
    """Mask more at every update; what is masked stays masked."""
    assert inputs.prune is not None  # `recover` refuses it
    updates = gradual_updates(
        inputs.prune.fraction,
        inputs.spec.train.num_steps,
        options.num_updates,
        options.begin,
        options.end,
        options.shape,
    )
    return prune_while_training("gradual", inputs, [updates], more)
