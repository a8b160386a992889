"""Scores from what heads look at and from how alike their outputs are.

Reference: [1] Voita et al. 2019, Analyzing Multi-Head Self-Attention, section 4,
https://arxiv.org/abs/1905.09418; [2] He et al. 2019, Filter Pruning via Geometric Median
(redundancy instead of size as the reason to go), https://arxiv.org/abs/1811.00250.
"""

import torch

from sentinel_research.pruning.scoring import ScoringInputs, UnitTensors
from sentinel_research.registry import scorer


def _mean_entropy(inputs: ScoringInputs) -> UnitTensors:
    return inputs.required.means("attention_entropy", inputs.kind)


@scorer(
    "entropy_low",
    summary="one minus the normalised entropy of the head's attention; diffuse heads go first",
    reference="Voita et al. 2019, section 4, https://arxiv.org/abs/1905.09418",
    units=("head", "kv_group"),
    needs=("attention_entropy",),
)
def entropy_low(inputs: ScoringInputs) -> UnitTensors:
    """Importance `1 - E_sequences E_rows [ H(p_t) / ln n_t ]`, `n_t` keys visible, in [0, 1]."""
    return [1 - layer for layer in _mean_entropy(inputs)]


@scorer(
    "entropy_high",
    summary="the normalised entropy of the head's attention; focused heads go first",
    reference="the opposite of entropy_low, to test its claim",
    units=("head", "kv_group"),
    needs=("attention_entropy",),
)
def entropy_high(inputs: ScoringInputs) -> UnitTensors:
    """Importance `E_sequences E_rows [ H(p_t) / ln n_t ]`, `n_t` keys visible, in [0, 1]."""
    return _mean_entropy(inputs)


@scorer(
    "redundancy",
    summary="how far the head's output is from the most similar head of its layer",
    reference="after He et al. 2019, https://arxiv.org/abs/1811.00250",
    units=("head", "kv_group"),
    needs=("head_gram",),
)
def redundancy(inputs: ScoringInputs) -> UnitTensors:
    """Importance `1 - max_k |cos(o_h, o_k)|` over the other heads of the layer, in [0, 1].

    `o_h` is what head `h` adds to the residual stream, at all text positions. A head without
    another one beside it scores 1; a head whose output is zero scores 0. The output of a KV
    group is the sum over its heads.
    """
    scores = []
    for gram in inputs.required.layers("head_gram", inputs.kind):
        norms = gram.diagonal().clamp(min=0).sqrt()
        silent = norms == 0
        scale = torch.outer(norms, norms)
        cosine = torch.where(scale > 0, gram / torch.where(scale > 0, scale, 1.0), 0.0).abs()
        cosine.fill_diagonal_(0.0)
        alike = cosine.amax(dim=1) if len(cosine) > 1 else torch.zeros_like(norms)
        scores.append(torch.where(silent, 0.0, 1 - alike.clamp(max=1.0)))
    return scores
