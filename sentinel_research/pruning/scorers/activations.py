"""Scores from what flows into a block's output projection.

`x_j` is channel `j` of that input over all text positions of the calibration text, `W` the output
projection with outputs along its rows. A head owns `head_dim` channels, a KV group those of its
heads, a neuron one.

Reference: [1] Sun et al. 2023, Wanda, equation 1, https://arxiv.org/abs/2306.11695; [2] An et al.
2023, FLAP, equation 3, https://arxiv.org/abs/2312.11983; [3] Muralidharan et al. 2024, Minitron,
section 2.2, https://arxiv.org/abs/2407.14679.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors, WeightTensors
from sentinel_research.pruning.sparse import wanda_scores
from sentinel_research.pruning.units import add_up_heads
from sentinel_research.registry import scorer

_UNITS = ("head", "kv_group", "neuron")


def _per_unit(
    inputs: ScoringInputs, layer: int, channels: Float64[Tensor, " channels"]
) -> Float64[Tensor, " units"]:
    """Sum over the channels of each unit."""
    if inputs.kind == "neuron" or not len(channels):
        return channels
    heads = channels.unflatten(0, (-1, inputs.structure.head_dim)).sum(dim=1)
    return add_up_heads(inputs.structure, inputs.kind, layer, heads)


def _output_weight(inputs: ScoringInputs, layer: int) -> Float64[Tensor, "outputs channels"]:
    path = inputs.anatomy.output_path(layer, "ffn" if inputs.kind == "neuron" else "attention")
    return inputs.weight(path).double().cpu()


@scorer(
    "activation_norm",
    summary="root mean square of what the unit hands to the output projection",
    reference="Muralidharan et al. 2024, section 2.2, https://arxiv.org/abs/2407.14679",
    units=_UNITS,
    needs=("channel_moments",),
)
def activation_norm(inputs: ScoringInputs) -> UnitTensors:
    """Importance `sqrt(sum_j E_t x_j^2)` over the unit's channels.

    Differs from [3], which averages magnitudes over positions before taking the norm over examples.
    """
    totals = inputs.required
    return [
        _per_unit(inputs, index, layer[1] / totals.num_tokens).sqrt()
        for index, layer in enumerate(totals.layers("channel_moments", inputs.kind))
    ]


@scorer(
    "wanda",
    summary="weight magnitude times input norm, summed over the unit's output weights",
    reference="Sun et al. 2023, equation 1, https://arxiv.org/abs/2306.11695",
    units=(*_UNITS, "weight"),
    needs=("channel_moments", "input_norms"),
)
def wanda(inputs: ScoringInputs) -> UnitTensors | WeightTensors:
    """Importance `sum_ij |W_ij| * ||x_j||_2`; `|W_ij| * ||x_j||_2` for single weights.

    The sum over a unit's output weights is the structured form that [2] calls Wanda-sp.
    """
    totals = inputs.required
    if inputs.kind == "weight":
        norms = torch.cat(totals.layers("input_norms", inputs.kind))
        scores, start = [], 0
        for path in inputs.projections:
            weight = inputs.weight(path)
            stop = start + weight.shape[1]
            scores.append(wanda_scores(weight.cpu(), norms[start:stop]))
            start = stop
        return scores
    return [
        _per_unit(inputs, index, wanda_scores(_output_weight(inputs, index), layer[1]).sum(dim=0))
        if layer.shape[1]
        else layer[1]
        for index, layer in enumerate(totals.layers("channel_moments", inputs.kind))
    ]


@scorer(
    "flap",
    summary="variance of the unit's output times its output weights: how badly a bias replaces it",
    reference="An et al. 2023, equation 3, https://arxiv.org/abs/2312.11983",
    units=_UNITS,
    needs=("channel_moments",),
)
def flap(inputs: ScoringInputs) -> UnitTensors:
    """Importance `sum_j Var_t(x_j) * ||W_j||_2^2`, the weighted input fluctuation.

    Meant to go with `compensate: bias`, which puts the mean in the unit's place. Differs from [2]
    in that scores are not standardised per layer (`normalise: layer` makes layers comparable).
    """
    totals = inputs.required
    count = totals.num_tokens
    scores = []
    for index, layer in enumerate(totals.layers("channel_moments", inputs.kind)):
        if not layer.shape[1]:
            scores.append(layer[1])
            continue
        # unbiased, as in [2]
        variance = (layer[1] - layer[0].square() / count).clamp(min=0) / max(count - 1, 1)
        power = _output_weight(inputs, index).square().sum(dim=0)
        scores.append(_per_unit(inputs, index, variance * power))
    return scores
