"""Size of a head's weights.

Reference: [1] Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks,
https://arxiv.org/abs/1506.02626 (magnitude as importance); heads as groups of weights follow
[2] Li et al. 2017, Pruning Filters for Efficient ConvNets, https://arxiv.org/abs/1608.08710.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from sentinel_research.pruning.calibrate import ScoringInputs
from sentinel_research.registry import scorer


@scorer(
    "magnitude",
    summary="L2 norm of the head's query, key, value and output weights",
    reference="Li et al. 2017, https://arxiv.org/abs/1608.08710",
)
@torch.no_grad()
def magnitude(inputs: ScoringInputs) -> list[Float64[Tensor, " _"]]:
    """L2 norm of everything that belongs to a head.

    `sqrt(|W_q|^2 + |W_k|^2 + |W_v|^2 + |W_o|^2 + |b_q|^2 + |b_k|^2 + |b_v|^2)` over the head's own
    rows and columns, in float64. In grouped-query attention all heads of a group count the same
    shared `W_k, W_v, b_k, b_v`, so that these do not change the order inside a group.

    Args:
        inputs: Only the model is read.

    Returns:
        One float64 tensor per layer, [heads].

    Reference:
        [2], equation for the filter norm in section 3.1, with L2 in place of L1.
    """
    row, heads = inputs.anatomy, inputs.heads
    scores = []
    for layer, attention in enumerate(row.attentions(inputs.model)):
        kv_kept = heads.kv_kept(layer)
        layer_scores = torch.zeros(len(heads.kept[layer]), dtype=torch.float64)
        for local, head in enumerate(heads.kept[layer]):
            kv = kv_kept.index(head // heads.group_size)
            parts = []
            for projection in row.inputs:
                weights = dict(attention.get_submodule(projection.name).named_parameters())
                index = heads.rows(layer, projection, [local], [kv]).to(inputs.model.device)
                parts.append(weights["weight"].index_select(row.input_axis, index))
                if heads.has_bias:
                    parts.append(weights["bias"][index])
            output = attention.get_submodule(row.output).get_parameter("weight")
            columns = heads.columns([local]).to(output.device)
            parts.append(output.index_select(row.output_axis, columns))
            layer_scores[local] = sum(float(part.double().square().sum()) for part in parts) ** 0.5
        scores.append(layer_scores)
    return scores
