"""From the phases that a method wants to trainings, one after the other, with one token budget."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sentinel_research.errors import UsageError
from sentinel_research.recoveries.inputs import Adjustment, Phase
from sentinel_research.specs import TrainSpec
from sentinel_research.training import Factors, multiply

_WHOLE = Phase(name="whole", share=1.0)


def compose(always: Factors, made: Sequence[Adjustment]) -> list[Phase]:
    """The phases of a recovery, each with the factors of all methods.

    Args:
        always: Factors that hold in any case, by the names of the model that was given.
        made: Every method's adjustment, in order. Where one renames parameters, what came before
            it is renamed.
    """
    factors: Factors = always
    phases: Sequence[Phase] = (_WHOLE,)
    for one in made:
        factors = multiply(_renamed(factors, one.renamed), one.factors)
        phases = [
            replace(phase, factors=_renamed(phase.factors, one.renamed))
            for phase in one.phases or phases
        ]
    return [replace(phase, factors=multiply(factors, phase.factors)) for phase in phases]


def _renamed(factors: Factors, names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): factor for name, factor in factors.items()}


def phase_specs(spec: TrainSpec, phases: Sequence[Phase]) -> list[TrainSpec]:
    """The training of every phase: its share of the tokens, in batches of its own.

    Shares are rounded where one phase ends and the next begins, so that all phases together read as
    many sequences as one training, up to half a step of the last phase.

    Args:
        spec: Of the whole recovery.
        phases: Their shares sum to 1.

    Returns:
        One spec a phase. Phases after the first have an order of the text of their own, which
        follows from the spec's seed: they would all begin with the same batches otherwise.

    Raises:
        UsageError: for a phase without a whole step.
    """
    found, used, share = [], 0, 0.0
    for index, phase in enumerate(phases):
        share += phase.share
        num_steps = round((share * spec.num_steps - used) / phase.batch_factor)
        if num_steps < 1:
            raise UsageError(
                f"the phase '{phase.name}' has {phase.share:g} of {spec.num_steps} steps, less "
                f"than one of its own, {phase.batch_factor} batches of {spec.batch_size} each",
                "raise `train.num_steps` or the phase's `share`, or lower its `batch_factor`",
            )
        used += num_steps * phase.batch_factor
        changes = {
            "num_steps": num_steps,
            "batch_size": spec.batch_size * phase.batch_factor,
            "accumulation_steps": spec.accumulation_steps * phase.batch_factor,
            "learning_rate": spec.learning_rate * phase.learning_rate_factor,
            "seed": _seed(spec.seed, index) if index else spec.seed,
        }
        found.append(spec.model_copy(update=changes))
    return found


def _seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
