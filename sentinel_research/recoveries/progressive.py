"""Recover in phases: critical heads first and fast, then everything, then slowly in large batches.

The phases are those of a strategy for models that lost many heads: regain basic functions through
the heads that matter most, let all parts find each other again, and settle.
"""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.errors import UsageError
from sentinel_research.recoveries.importance import Importance, critical, importance_of
from sentinel_research.recoveries.inputs import Adjustment, Phase, RecoveryInputs
from sentinel_research.recoveries.unit_factors import only, unit_factors
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec
from sentinel_research.training import Factors

Trains = Literal["critical_heads", "heads", "all"]
# they hold the weights of heads themselves
_HOLD_HEADS = ("gates", "lora")


class PhaseOptions(Spec):
    """One phase of the training."""

    name: str = Field(min_length=1)
    """For the record."""
    share: float = Field(gt=0, le=1)
    """Of the tokens; the shares of all phases sum to 1."""
    learning_rate_factor: float = Field(default=1.0, gt=0)
    """Times `train.learning_rate` is the phase's peak."""
    batch_factor: int = Field(default=1, gt=0)
    """Times `train.batch_size` is the phase's batch; its steps are fewer by as much."""
    trains: Trains = "all"
    """`critical_heads`: the most important heads; `heads`: every head that is left; `all`:
    everything that is left."""


_THREE = (
    PhaseOptions(name="recovery", share=0.3, trains="critical_heads"),
    PhaseOptions(name="refinement", share=0.5, learning_rate_factor=0.3),
    PhaseOptions(name="stabilisation", share=0.2, learning_rate_factor=0.1, batch_factor=4),
)


class ProgressiveOptions(Spec):
    """The phases, and which heads are critical."""

    phases: tuple[PhaseOptions, ...] = Field(default=_THREE, min_length=1)
    """One after the other; each begins with a new optimiser, warm-up and schedule."""
    critical_fraction: float = Field(default=0.5, gt=0, le=1)
    """Share of the heads that are left, by importance, that are critical; rounded up."""

    @model_validator(mode="after")
    def _is_one_training(self) -> Self:
        total = sum(phase.share for phase in self.phases)
        # sums of decimal fractions are exact to a few units of 2^-53
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of `phases` sum to {total:g}, not to 1")
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"two phases have the same name: {names}")
        return self


@recovery(
    "progressive",
    summary="three phases: critical heads fast, all parts slower, all very slowly in large batches",
    reference="gradual unfreezing of Howard and Ruder 2018, section 3.3, "
    "https://arxiv.org/abs/1801.06146, by heads",
    options=ProgressiveOptions,
)
def progressive(inputs: RecoveryInputs, options: ProgressiveOptions) -> Adjustment:
    """Divide the training into phases that read as many tokens as one training.

    Phase `p` reads the share `s_p` of the tokens in batches of `b_p * batch_size` at the peak rate
    `r_p * learning_rate`. Critical are the `ceil(critical_fraction * n)` most important of the `n`
    heads that are left, all layers together, by the plan's own scores or, where it has none of
    heads, by `magnitude_l2`. Key and value rows train if a head of their group does.

    Raises:
        UsageError: for a family without a row in the anatomy table, or phases that train heads
            beside a method which holds their weights.
    """
    by_heads = [phase for phase in options.phases if phase.trains != "all"]
    holding = [name for name in _HOLD_HEADS if name in inputs.spec.methods]
    if by_heads and holding:
        raise UsageError(
            f"`progressive`: the phase '{by_heads[0].name}' trains {by_heads[0].trains}, and "
            f"'{holding[0]}' holds the weights of all heads",
            "give `progressive.phases` that train `all`, or compare the two as variants",
        )
    importance = importance_of(inputs, "head") if by_heads else None
    report: dict[str, Any] = {"phases": [phase.model_dump() for phase in options.phases]}
    if importance is not None:
        chosen = critical(importance, options.critical_fraction)
        report["scorer"] = importance.scorer
        report["num_critical_heads"] = [int(layer.sum()) for layer in chosen]
    return Adjustment(
        phases=tuple(
            Phase(
                name=phase.name,
                share=phase.share,
                learning_rate_factor=phase.learning_rate_factor,
                batch_factor=phase.batch_factor,
                factors=_factors(inputs, phase.trains, importance, options),
            )
            for phase in options.phases
        ),
        report=lambda: {"progressive": report},
    )


def _factors(
    inputs: RecoveryInputs,
    trains: Trains,
    importance: Importance | None,
    options: ProgressiveOptions,
) -> Factors:
    if importance is None or trains == "all":
        return {}
    if trains == "critical_heads":
        values = critical(importance, options.critical_fraction)
    else:
        values = [torch.ones(len(layer)) for layer in importance.values]
    return only(inputs.model, unit_factors(inputs.model, {"head": values}))
