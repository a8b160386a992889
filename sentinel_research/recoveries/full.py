"""Train everything that pruning left."""

from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class FullOptions(Spec):
    """`full` has no options."""


@recovery(
    "full",
    summary="every parameter that pruning left is trained",
    reference="fine-tuning; the baseline of all others",
    options=FullOptions,
)
def full(inputs: RecoveryInputs, options: FullOptions) -> Adjustment:  # noqa: ARG001
    """Change nothing: what pruning took out is held by `recover` for every method."""
    return Adjustment()
