"""Choose the whole mask again while the model trains, at one fraction.

The mask is lifted for scoring, so that every unit competes with the weights that it has: masked
ones with those of when they went. [1] re-makes masks during training too, of single weights, and
goes on training what is masked; here it is held.

Reference: [1] Guo et al. 2016, Dynamic Network Surgery, section 3.2,
https://arxiv.org/abs/1608.04493.
"""

from pydantic import Field

from sentinel_research.errors import UsageError
from sentinel_research.pruning.score import WEIGHT_KINDS
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.mask_choices import anew
from sentinel_research.recoveries.masks import HIDES_WEIGHTS, prune_while_training
from sentinel_research.recoveries.schedules import repeated_updates
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class AdaptiveMaskingOptions(Spec):
    """How often the mask is chosen again."""

    every: int = Field(default=20, gt=0)
    """Steps between two choices."""
    until: float = Field(default=0.75, gt=0, le=1)
    """Share of the steps from which on the mask stays."""


@recovery(
    "adaptive_masking",
    summary="the mask of a constant fraction is scored anew on a schedule, masked units included",
    reference="after Guo et al. 2016, section 3.2, https://arxiv.org/abs/1608.04493",
    options=AdaptiveMaskingOptions,
    prunes=True,
    excludes=("lora",),
    why_excluded=HIDES_WEIGHTS,
)
def adaptive_masking(inputs: RecoveryInputs, options: AdaptiveMaskingOptions) -> Adjustment:
    """Start from the one-shot mask, and choose again at every update."""
    assert inputs.prune is not None  # `recover` refuses it
    if inputs.prune.granularities[0] in WEIGHT_KINDS:
        raise UsageError(
            "`adaptive_masking` lifts the mask to score what it hides, and `granularity: "
            f"{inputs.prune.granularities[0]}` hides nothing: its weights are zero",
            "take head, kv_group, neuron or blocks, or recover with `gradual`",
        )
    num_steps = inputs.spec.train.num_steps
    updates = repeated_updates(inputs.prune.fraction, num_steps, options.every, options.until)
    return prune_while_training("adaptive_masking", inputs, [updates], anew)
