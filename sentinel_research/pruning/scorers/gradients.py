"""How the loss reacts to a unit's gate, or to single weights.

With `g_s = dL_s/dgate` at a gate of 1 for the loss of sequence `s` (mean negative log-likelihood
per target token): the gate's gradient equals the signed sum of `W * dL/dW` over the unit's slice of
the output projection, so the scores below are one first-order expansion of the loss and differ in
where the absolute value sits. A KV group and a layer have one gate for all of their parts, so the
signed sum over the parts comes before the absolute value.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, equation 2,
https://arxiv.org/abs/1905.10650; [2] Molchanov et al. 2017, Pruning Convolutional Neural Networks
for Resource Efficient Inference, equation 7, https://arxiv.org/abs/1611.06440; [3] Molchanov et al.
2019, Importance Estimation for Neural Network Pruning, equation 8,
https://arxiv.org/abs/1906.10771; [4] LeCun et al. 1989, Optimal Brain Damage; [5] Ma et al. 2023,
LLM-Pruner, equation 5, https://arxiv.org/abs/2305.11627.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors, WeightTensors
from sentinel_research.registry import scorer

_GATED = ("head", "kv_group", "neuron", "attention", "ffn", "layer")


def _mean(inputs: ScoringInputs, moment: int) -> list[Float64[Tensor, " units"]]:
    """Mean over sequences of `g` (0), `|g|` (1) or `g^2` (2)."""
    return [layer[moment] for layer in inputs.required.means("gate_gradient", inputs.kind)]


@scorer(
    "gate_gradient",
    summary="mean absolute gradient of the loss with respect to the unit's gate",
    reference="Michel et al. 2019, equation 2, https://arxiv.org/abs/1905.10650",
    units=_GATED,
    needs=("gate_gradient",),
)
def gate_gradient(inputs: ScoringInputs) -> UnitTensors:
    """Importance `E_s |g_s|`: gradients of different sequences cannot cancel.

    Differs from [1] in that scores are not normalised per layer (`normalise: layer` does that).
    """
    return _mean(inputs, 1)


@scorer(
    "taylor",
    summary="absolute first-order change of the mean loss when the unit goes",
    reference="Molchanov et al. 2017, equation 7, https://arxiv.org/abs/1611.06440",
    units=_GATED,
    needs=("gate_gradient",),
)
def taylor(inputs: ScoringInputs) -> UnitTensors:
    """Importance `|E_s g_s|`: the size of the expected change, whatever its direction.

    Differs from [2] in that the mean is taken before the absolute value, over gates of whole units.
    """
    return [layer.abs() for layer in _mean(inputs, 0)]


@scorer(
    "taylor_signed",
    summary="first-order estimate of the increase of the mean loss when the unit goes",
    reference="Molchanov et al. 2017, equation 7 without the absolute value",
    units=_GATED,
    needs=("gate_gradient",),
)
def taylor_signed(inputs: ScoringInputs) -> UnitTensors:
    """Importance `-E_s g_s`: `L(gate 0) - L(gate 1)` to first order; negative units hurt."""
    return [-layer for layer in _mean(inputs, 0)]


@scorer(
    "fisher",
    summary="diagonal Fisher information of the unit's gate",
    reference="Molchanov et al. 2019, equation 8, https://arxiv.org/abs/1906.10771",
    units=_GATED,
    needs=("gate_gradient",),
)
def fisher(inputs: ScoringInputs) -> UnitTensors:
    """Importance `E_s g_s^2 / 2`: the second-order term of [4] with the empirical Fisher matrix."""
    return [layer / 2 for layer in _mean(inputs, 2)]


@scorer(
    "taylor_weights",
    summary="first-order change of the mean loss when a single weight goes",
    reference="Ma et al. 2023, equation 5 (element-wise), https://arxiv.org/abs/2305.11627",
    units=("weight",),
    needs=("weight_gradients",),
)
def taylor_weights(inputs: ScoringInputs) -> WeightTensors:
    """Importance `|w * E_s dL_s/dw|` of every weight; one matrix [outputs, inputs] a projection."""
    gradients = torch.cat(inputs.required.means("weight_gradients", inputs.kind))
    scores, start = [], 0
    for path in inputs.projections:
        weight = inputs.weight(path).double().cpu()
        stored = inputs.model.get_submodule(path).get_parameter("weight").shape
        gradient = gradients[start : start + weight.numel()].reshape(stored)
        start += weight.numel()
        oriented = gradient if inputs.anatomy.weight == "linear" else gradient.T
        scores.append((weight * oriented).abs())
    return scores
