"""Random importance: the baseline that every other scorer has to beat.

Reference: [1] Budhraja et al. 2020, On the weak link between importance and prunability of
attention heads, https://aclanthology.org/2020.emnlp-main.260.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.pruning.calibrate import ScoringInputs
from sentinel_research.registry import scorer


@scorer(
    "random",
    summary="uniform random numbers from the seed; never looks at the model's weights",
    reference="Budhraja et al. 2020, https://aclanthology.org/2020.emnlp-main.260",
    seeded=True,
)
def random(inputs: ScoringInputs) -> list[Float64[Tensor, " _"]]:
    """Independent uniform numbers in [0, 1), the same for the same seed on every device.

    Args:
        inputs: Only `seed` and the number of heads are read.

    Returns:
        One float64 tensor per layer, [heads].

    Reference:
        [1], section 3: random subsets of heads prune as well as sensible ones up to a point.
    """
    generator = torch.Generator().manual_seed(inputs.seed)
    return [
        torch.rand(count, generator=generator, dtype=torch.float64) for count in inputs.num_heads
    ]
