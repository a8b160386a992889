"""How much a block or a layer changes the residual stream.

Reference: [1] Men et al. 2024, ShortGPT, equation 1 (Block Influence),
https://arxiv.org/abs/2403.03853.
"""

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors
from sentinel_research.registry import scorer

_PLACE = {"attention": 0, "ffn": 1, "layer": 2}


@scorer(
    "layer_influence",
    summary="one minus the cosine between what enters a block and what leaves it",
    reference="Men et al. 2024, equation 1, https://arxiv.org/abs/2403.03853",
    units=("attention", "ffn", "layer"),
    needs=("similarity",),
)
def layer_influence(inputs: ScoringInputs) -> UnitTensors:
    """Importance `1 - E_t cos(in_t, out_t)`, the Block Influence of [1]; for halves of a layer too.

    The stream is compared before and after the attention block adds to it, and the feed-forward
    block likewise. Norms that the stream itself runs through (OPT-350m, some BLOOMs) belong to no
    block, as they stay without it; a layer is compared as a whole, norms included.
    """
    totals, place = inputs.required, _PLACE[inputs.kind]
    return [
        layer[place : place + 1][:count] / totals.num_tokens
        for layer, count in zip(
            totals.layers("similarity", inputs.kind), inputs.num_units, strict=True
        )
    ]
