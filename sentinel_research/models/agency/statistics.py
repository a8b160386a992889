"""What the states of heads are functions of, each measured on one batch of text.

All three are of what a head offers: its output times its learned gate, before the multiplier of its
state. A withdrawn head can therefore be seen to be of use again.

Alignment is the gradient of the loss by the head's gate [1], normalised: for `o` the output and `G`
the gradient of the loss by what goes on, `dL/dgate = <o, G>`, and the cosine is that over the
product of the norms, negated. It is positive where a wider gate lowers the loss.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 4.1,
https://arxiv.org/abs/1905.10650.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sentinel_research.models.entropy import normalised_entropy


def utilisation(
    probabilities: Float[Tensor, "batch heads time time"],
    is_text: Bool[Tensor, "batch time"],
    window: int | None = None,
) -> Float[Tensor, " heads"]:
    """1 less the normalised entropy of attention, mean over sequences.

    Args:
        probabilities: Attention, rows sum to 1.
        is_text: False at padding, which comes last; a sequence has two tokens of text at least.
        window: Keys that a row sees at most; None if there is no limit.

    Returns:
        In [0, 1].
    """
    return 1 - normalised_entropy(probabilities, is_text, window).mean(dim=0).float()


def alignment(
    offered: Float[Tensor, "batch time width"],
    gradient: Float[Tensor, "batch time width"],
    is_text: Bool[Tensor, "batch time"],
    num_heads: int,
) -> Float[Tensor, " heads"]:
    """Cosine of each head's output and the negative gradient, mean over sequences.

    Args:
        offered: What the heads offer.
        gradient: Of the loss, by what goes on to the output projection.
        is_text: False at padding.
        num_heads: Heads in `width`.

    Returns:
        In [-1, 1]; 0 for a head without output or gradient, which has no direction.
    """
    shape = (num_heads, -1)
    output, slope = (
        (tensor.float() * is_text[..., None]).unflatten(-1, shape) for tensor in (offered, gradient)
    )  # [B, T, H, D]
    product = (output * slope).sum(dim=(1, 3))
    norms = output.square().sum(dim=(1, 3)).sqrt() * slope.square().sum(dim=(1, 3)).sqrt()
    return torch.where(norms > 0, -product / norms.clamp(min=torch.finfo().tiny), 0.0).mean(dim=0)


def usage(
    offered: Float[Tensor, "batch time width"],
    rows: Float[Tensor, "width hidden"],
    is_text: Bool[Tensor, "batch time"],
    num_heads: int,
) -> Float[Tensor, " heads"]:
    """Share of the norms of the heads' outputs, after the output projection, of all positions.

    Norms follow from Gram matrices, so that outputs of the hidden size are never formed.

    Args:
        offered: What the heads offer.
        rows: Weights of the output projection, one row per input channel.
        is_text: False at padding.
        num_heads: Heads in `width`.

    Returns:
        In [0, 1], summing to 1; zeros if no head has any output.
    """
    text = (offered.float() * is_text[..., None]).unflatten(-1, (num_heads, -1))  # [B, T, H, D]
    gram = torch.einsum("bthd,bthe->hde", text, text)
    weights = rows.float().unflatten(0, (num_heads, -1))  # [H, D, E]
    products = torch.einsum("hde,hfe->hdf", weights, weights)
    # rounding may leave a head without output a little below zero
    norms = (gram * products).sum(dim=(1, 2)).clamp(min=0).sqrt()
    total = norms.sum()
    return torch.where(total > 0, norms / total.clamp(min=torch.finfo().tiny), 0.0)
