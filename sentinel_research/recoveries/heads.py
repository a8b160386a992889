"""Train the heads that pruning left, and nothing else."""

import torch

from sentinel_research.models.layout import structure_of
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.unit_factors import only, unit_factors
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class HeadsOptions(Spec):
    """`heads` has no options."""


@recovery(
    "heads",
    summary="only the weights of active attention heads are trained",
    reference="selective fine-tuning by slices of the projections",
    options=HeadsOptions,
)
def heads(inputs: RecoveryInputs, options: HeadsOptions) -> Adjustment:  # noqa: ARG001
    """Freeze embeddings, norms, feed-forward blocks and output biases.

    Masked heads are held by `recover` for every method.
    """
    counts = structure_of(inputs.model.config).num_units("head")
    slices = unit_factors(inputs.model, {"head": [torch.ones(count) for count in counts]})
    return Adjustment(factors=only(inputs.model, slices))
