"""How spread out attention is.

Reference: [1] Voita et al. 2019, Analyzing Multi-Head Self-Attention, section 4 ("confidence" of a
head), https://arxiv.org/abs/1905.09418. We differ: entropy instead of the mean maximum weight, and
each row is normalised by the largest entropy it could have in a layer with that attention window.
"""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor


def normalised_entropy(
    probabilities: Float[Tensor, "batch heads time time"],
    is_text: Bool[Tensor, "batch time"],
    window: int | None = None,
) -> Float64[Tensor, "batch heads"]:
    """Mean over rows of causal attention entropy, as a share of its maximum.

    Row t (from 0) sees `n = min(t + 1, window)` keys, so its entropy lies in [0, ln n]. Row 0 sees
    one key, its entropy is 0 whatever the head does, and it is left out; so are rows of padding.

    Args:
        probabilities: Rows sum to 1, entries above the diagonal and outside the window are 0.
        is_text: False at padding, which comes last.
        window: Keys that a row sees at most, its own included, at least 2; None if there is no
            limit.

    Returns:
        In [0, 1] for every sequence and head: 0 is one-hot, 1 is uniform.
    """
    length = probabilities.shape[-1]
    wide = torch.promote_types(probabilities.dtype, torch.float32)
    entropy = torch.special.entr(probabilities.detach().to(wide)).sum(dim=-1)[..., 1:]
    visible = torch.arange(2, length + 1, dtype=torch.float64, device=probabilities.device)
    if window is not None:
        visible = visible.clamp(max=window)
    shares = entropy.double() / visible.log()  # [B, H, T - 1]
    rows = is_text[:, None, 1:]
    return (shares * rows).sum(dim=-1) / rows.sum(dim=-1)
