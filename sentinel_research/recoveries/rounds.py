"""Prune a part, train it back, and again.

Every round is a training of its own: warm-up and schedule of the learning rate, and the optimiser,
begin anew, as in learning-rate rewinding [2]. With one schedule over all rounds the last and
hardest pruning would meet the smallest learning rate; that form is `gradual` with `shape: linear`.

References: [1] Han et al. 2015, Learning both Weights and Connections, section 3.4 (iterative
pruning), https://arxiv.org/abs/1506.02626; [2] Renda et al. 2020, Comparing Rewinding and
Fine-tuning, https://arxiv.org/abs/2003.02389.
"""

from pydantic import Field

from sentinel_research.errors import UsageError
from sentinel_research.recoveries.inputs import Adjustment, Phase, RecoveryInputs
from sentinel_research.recoveries.mask_choices import more
from sentinel_research.recoveries.masks import HIDES_WEIGHTS, prune_while_training
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class RoundsOptions(Spec):
    """How often pruning and training take turns."""

    num_rounds: int = Field(default=3, gt=1)
    """Rounds of equal length; each prunes the same share of the fraction."""


@recovery(
    "rounds",
    summary="prune and recover in rounds, re-scored before each, the learning rate anew in each",
    reference="Renda et al. 2020, https://arxiv.org/abs/2003.02389",
    options=RoundsOptions,
    prunes=True,
    excludes=("lora",),
    why_excluded=HIDES_WEIGHTS,
)
def rounds(inputs: RecoveryInputs, options: RoundsOptions) -> Adjustment:
    """Mask more before every round; what is masked stays masked.

    The steps are those of the whole recovery, however they divide.
    """
    assert inputs.prune is not None  # `recover` refuses it
    number, num_steps = options.num_rounds, inputs.spec.train.num_steps
    if num_steps < number:
        raise UsageError(
            f"`rounds.num_rounds` = {number} is more than the {num_steps} steps of the training",
            "lower it, or raise `train.num_steps`",
        )
    ends = [round(num_steps * index / number) for index in range(number + 1)]
    phases = tuple(
        Phase(name=f"round {index + 1}", share=(ends[index + 1] - ends[index]) / num_steps)
        for index in range(number)
    )
    # the last one is the fraction as it was written
    fractions = [inputs.prune.fraction * ((index + 1) / number) for index in range(number)]
    updates = [{0: fraction} for fraction in fractions]
    return prune_while_training("rounds", inputs, updates, more, phases)
