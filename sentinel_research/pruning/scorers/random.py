"""Random importance: the baseline that every other scorer has to beat.

Reference: [1] Budhraja et al. 2020, On the weak link between importance and prunability of
attention heads, https://aclanthology.org/2020.emnlp-main.260.
"""

import hashlib

import torch

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors, WeightTensors
from sentinel_research.registry import scorer


@scorer(
    "random",
    summary="uniform random numbers from the seed; never looks at the model's weights",
    reference="Budhraja et al. 2020, https://aclanthology.org/2020.emnlp-main.260",
    units=("head", "kv_group", "neuron", "attention", "ffn", "layer", "weight"),
    seeded=True,
)
def random(inputs: ScoringInputs) -> UnitTensors | WeightTensors:
    """Independent uniform numbers in [0, 1), the same for the same seed on every device.

    Every kind of unit has draws of its own: attention blocks that went with the feed-forward blocks
    of their layers would be random layers, not random blocks.

    Args:
        inputs: Only the kind, the seed and the number of units are read.

    Returns:
        One float64 tensor per layer, [units]; for weights one per projection.

    Reference:
        [1], section 3: random subsets of heads prune as well as sensible ones up to a point.
    """
    generator = torch.Generator().manual_seed(_seed_of(inputs.kind, inputs.seed))
    if inputs.kind == "weight":
        return [
            torch.rand(inputs.weight(path).shape, generator=generator, dtype=torch.float64)
            for path in inputs.projections
        ]
    return [
        torch.rand(count, generator=generator, dtype=torch.float64) for count in inputs.num_units
    ]


def _seed_of(kind: str, seed: int) -> int:
    """The generator's seed: the spec's own for heads, a digest of it and the kind for others."""
    if kind == "head":
        return seed
    return int.from_bytes(hashlib.sha256(f"{kind} {seed}".encode()).digest()[:8], "big")
