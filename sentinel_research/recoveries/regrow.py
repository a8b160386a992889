"""Keep the fraction, and exchange units while the model trains: what has been called plasticity.

We differ from [1] in that units are heads, groups, neurons or blocks with gates in place of single
weights; in that a unit that comes back has the weights that it went with, where [1] starts grown
weights at zero (a unit whose weights are all zero would get no gradient); and in that gradients are
measured on calibration text, not on one training batch.

Reference: [1] Evci et al. 2020, Rigging the Lottery, algorithm 1 and section 3,
https://arxiv.org/abs/1911.11134.
"""

from pydantic import Field

from sentinel_research.errors import UsageError
from sentinel_research.pruning.calibrate import check_calibration
from sentinel_research.pruning.score import WEIGHT_KINDS
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.mask_choices import exchange
from sentinel_research.recoveries.masks import HIDES_WEIGHTS, prune_while_training
from sentinel_research.recoveries.schedules import repeated_updates
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class RegrowOptions(Spec):
    """How often and how many units are exchanged."""

    drop_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the active units that is dropped at first; it falls as a cosine to 0."""
    every: int = Field(default=20, gt=0)
    """Steps between two exchanges."""
    until: float = Field(default=0.75, gt=0, le=1)
    """Share of the steps from which on nothing is exchanged any more."""


@recovery(
    "regrow",
    summary="at a constant fraction drop units by score and grow others by their gates' gradients",
    reference="Evci et al. 2020, algorithm 1, https://arxiv.org/abs/1911.11134",
    options=RegrowOptions,
    prunes=True,
    excludes=("lora",),
    why_excluded=HIDES_WEIGHTS,
)
def regrow(inputs: RecoveryInputs, options: RegrowOptions) -> Adjustment:
    """Start from the one-shot mask, and exchange units at every update."""
    assert inputs.prune is not None  # `recover` refuses it
    if inputs.prune.granularities[0] in WEIGHT_KINDS:
        raise UsageError(
            f"`regrow` grows units by the gradients of their gates, and `granularity: "
            f"{inputs.prune.granularities[0]}` has no gates",
            "take head, kv_group or neuron, or recover with `gradual`",
        )
    if inputs.calibration is None:
        raise UsageError(
            "`regrow` reads calibration text, for the gradients of gates, and there is none",
            "add `prune.calibration`, for example --set prune.calibration.corpus=wikitext2",
        )
    check_calibration(inputs.calibration, inputs.model)
    num_steps = inputs.spec.train.num_steps
    updates = repeated_updates(inputs.prune.fraction, num_steps, options.every, options.until)
    choose = exchange(options.drop_share, options.every, options.until * num_steps)
    return prune_while_training("regrow", inputs, [updates], choose)
