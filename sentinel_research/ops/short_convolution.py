"""The short causal convolution before a recurrence: every channel has a kernel of a few taps.

    y[t, c] = bias[c] + sum over k of kernel[c, 0, k] * x[t - (taps - 1) + k, c]

The last tap meets the position itself. Before the sequence x is 0, or what a cache remembers of
it. Padding is the caller's: a position that is to have no effect comes as zeros.

Reference: Gu and Dao 2023, figure 3, https://arxiv.org/abs/2312.00752; the order of the taps is
that of torch.nn.Conv1d, which holds the weights.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad
from transformers.cache_utils import LinearAttentionLayer


def short_convolution(
    x: Float[Tensor, "batch seq channels"],
    kernel: Float[Tensor, "channels 1 taps"],
    bias: Float[Tensor, " channels"] | None = None,
    past: LinearAttentionLayer | None = None,
) -> Float[Tensor, "batch seq channels"]:
    """Convolve every channel with its own kernel over the positions up to each one.

    Args:
        x: Inputs of these positions, at least one.
        kernel: The weight of a depthwise `torch.nn.Conv1d`.
        bias: Added to every position.
        past: The layer's cache, whose last inputs come before `x`; updated in place.

    Returns:
        As many positions as `x` has, in the type of `x`.

    Example:
        >>> impulse = torch.eye(4)[None, :, :1]
        >>> short_convolution(impulse, torch.tensor([[[5.0, 6.0, 7.0]]])).flatten()
        tensor([7., 6., 5., 0.])
    """
    seq, taps = x.shape[1], kernel.shape[-1]
    inputs = x.transpose(1, 2)  # [batch, channels, seq]
    if past is not None:
        inputs = past.update_conv_state(inputs, conv_kernel_size=taps)
    # negative where a cache gives back more positions than are needed
    missing = seq + taps - 1 - inputs.shape[-1]
    # as an image of height 1 with the channels last, which is how `x` lies in memory: a
    # convolution in one dimension copies it into another order and back
    image = pad(inputs.unsqueeze(2), (missing, 0))  # [batch, channels, 1, seq + taps - 1]
    mixed = conv2d(image, kernel.unsqueeze(2), bias, groups=image.shape[1])
    return mixed.squeeze(2).transpose(1, 2)


def naive_short_convolution(
    x: Float[Tensor, "batch seq channels"],
    kernel: Float[Tensor, "channels 1 taps"],
    bias: Float[Tensor, " channels"] | None = None,
) -> Float[Tensor, "batch seq channels"]:
    """The sum over taps as it is written above: what `short_convolution` must equal."""
    seq, taps = x.shape[1], kernel.shape[-1]
    padded = pad(x, (0, 0, taps - 1, 0))
    terms = [kernel[:, 0, tap] * padded[:, tap : tap + seq] for tap in range(taps)]
    y = torch.stack(terms).sum(0)
    return y if bias is None else y + bias
