"""Random importance: the baseline that every other scorer has to beat.

Reference: [1] Budhraja et al. 2020, On the weak link between importance and prunability of
attention heads, https://aclanthology.org/2020.emnlp-main.260.
"""

import torch

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors, WeightTensors
from sentinel_research.registry import scorer


@scorer(
    "random",
    summary="uniform random numbers from the seed; never looks at the model's weights",
    reference="Budhraja et al. 2020, https://aclanthology.org/2020.emnlp-main.260",
    units=("head", "neuron", "attention", "ffn", "layer", "weight"),
    seeded=True,
)
def random(inputs: ScoringInputs) -> UnitTensors | WeightTensors:
    """Independent uniform numbers in [0, 1), the same for the same seed on every device.

    Args:
        inputs: Only the kind, the seed and the number of units are read.

    Returns:
        One float64 tensor per layer, [units]; for weights one per projection.

    Reference:
        [1], section 3: random subsets of heads prune as well as sensible ones up to a point.
    """
    generator = torch.Generator().manual_seed(inputs.seed)
    if inputs.kind == "weight":
        return [
            torch.rand(inputs.weight(path).shape, generator=generator, dtype=torch.float64)
            for path in inputs.projections
        ]
    return [
        torch.rand(count, generator=generator, dtype=torch.float64) for count in inputs.num_units
    ]
