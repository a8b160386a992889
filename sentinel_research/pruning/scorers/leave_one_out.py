"""What the loss gains when one unit is masked.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 3.1 (ablating
one head), https://arxiv.org/abs/1905.10650. We differ: the loss is language-model likelihood.
"""

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors
from sentinel_research.registry import scorer


@scorer(
    "leave_one_out",
    summary="increase of the loss when only this unit is masked; one pass over the text per unit",
    reference="Michel et al. 2019, section 3.1, https://arxiv.org/abs/1905.10650",
    units=("head", "kv_group", "neuron", "attention", "ffn", "layer"),
    needs=("ablation",),
)
def leave_one_out(inputs: ScoringInputs) -> UnitTensors:
    """Importance `E_sequences [ L(without the unit) - L ]`, in nats per target token.

    Negative scores are units whose absence helps on the calibration text.
    """
    return inputs.required.means("ablation", inputs.kind)
