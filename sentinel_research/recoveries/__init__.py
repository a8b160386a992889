"""Recovery: train a pruned model back, by methods that are registered and compose.

`recover` is the stage; a method is a function `(RecoveryInputs, options) -> Adjustment`.
"""

from sentinel_research.recoveries.inputs import Adjustment, Phase, RecoveryInputs
from sentinel_research.recoveries.methods import check_methods
from sentinel_research.recoveries.stage import Recovered, recover

__all__ = [
    "Adjustment",
    "Phase",
    "Recovered",
    "RecoveryInputs",
    "check_methods",
    "recover",
]
