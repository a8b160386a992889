"""ResNet-BK's mixer, made causal: the resolvent of a Hamiltonian that the past writes.

    h, c, u, gate = W_in x;   c = sigmoid(c + b);   u = conv(u)
    y = W_out ([Re r, Im r] * sqrt(eta) * silu(gate)),   r = last rows of (z - H)^-1 u

See `sentinel_research.ops.resolvent` for r. By the resolvent identity sum_j |G_ij|^2 = -Im g_i/eta,
so that the factor sqrt(eta) keeps the size of r that of u whatever the length of the memory, as the
normalisation of Orvieto et al. 2023, https://arxiv.org/abs/2303.06349, section 3.4.

A position that is padding is cut off by c = 0 on both of its sides, which restarts the recursion
exactly: a padded sequence gives what it gives alone.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache
from transformers import initialization as init

from sentinel_research.models.sentinel.configuration import SentinelConfig
from sentinel_research.ops.resolvent import green_diagonal, resolvent
from sentinel_research.ops.short_convolution import short_convolution

# hops of 0.73 at rest: a band of energies of about +-1.5
_HOP_BIAS = 1.0
_ENERGIES = (-1.2, 1.2)
# memories of 2 to 200 positions
_WIDTHS = (0.005, 0.5)
# fractions of multiples of it fill an interval evenly, and independently of a linear order
_GOLDEN = (math.sqrt(5) - 1) / 2


class ResolventMixer(nn.Module):
    """One layer's sequence mixer.

    Args:
        config: Sizes and options.
        layer_idx: Which layer, for the cache.
    """

    def __init__(self, config: SentinelConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.channels = config.resolvent_size or config.hidden_size
        self.conv_kernel = config.resolvent_conv_kernel
        self.min_width = config.resolvent_min_width
        self.is_bidirectional = config.resolvent_bidirectional
        self.implementation = "auto"
        self.in_proj = nn.Linear(config.hidden_size, 4 * self.channels, bias=False)
        if self.conv_kernel:
            self.conv1d = nn.Conv1d(
                self.channels, self.channels, self.conv_kernel, groups=self.channels, bias=False
            )
        self.hop_bias = nn.Parameter(torch.empty(self.channels))
        self.energy = nn.Parameter(torch.empty(self.channels))
        self.raw_width = nn.Parameter(torch.empty(self.channels))
        self.out_proj = nn.Linear(2 * self.channels, config.hidden_size, bias=False)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Spread energies and memories over the channels, independently of each other."""
        if self.conv_kernel:
            # torch's own initialisation: that of a linear map would all but silence the values
            init.kaiming_uniform_(self.conv1d.weight, a=math.sqrt(5))
        order = torch.arange(self.channels, dtype=torch.float64) + 0.5
        low, high = _ENERGIES
        init.constant_(self.hop_bias, _HOP_BIAS)
        init.copy_(self.energy, (low + (high - low) * order / self.channels).float())
        fractions = (order * _GOLDEN) % 1
        shortest, longest = math.log(_WIDTHS[1]), math.log(_WIDTHS[0])
        width = torch.exp(shortest + (longest - shortest) * fractions)
        # the inverse of softplus
        init.copy_(self.raw_width, torch.log(torch.expm1(width - self.min_width)).float())

    @property
    def width(self) -> Float[Tensor, " channels"]:
        """eta of every channel, at least the configured minimum."""
        return F.softplus(self.raw_width.float()) + self.min_width

    def forward(
        self,
        hidden_states: Float[Tensor, "batch seq hidden"],
        past_key_values: Cache | None = None,
        attention_mask: Bool[Tensor, "batch seq"] | None = None,
        links: Float[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq hidden"]:
        """Mix along the sequence.

        Args:
            hidden_states: Normed input.
            past_key_values: Holds the convolution's inputs and the resolvent's state.
            attention_mask: True where a position is a token; None if all are.
            links: 1 where a position and the one before it are both tokens, else 0; None as before.

        Returns:
            What the block adds to the residual stream.
        """
        potential, hop, value, gate = self.in_proj(hidden_states).chunk(4, -1)
        hop = torch.sigmoid(hop + self.hop_bias)
        if attention_mask is not None and links is not None:
            hop = hop * links[..., None]
            value = value * attention_mask[..., None].to(value.dtype)
        past: Any = None if past_key_values is None else past_key_values.layers[self.layer_idx]
        # the convolution's update marks the cache as filled, so the state is read before it
        state = None if past is None else past.state
        if self.conv_kernel:
            value = short_convolution(value, self.conv1d.weight, past=past)
        width = self.width
        if self.is_bidirectional:
            row = value[:, :, None] * green_diagonal(
                potential, hop, self.energy, width, implementation=self.implementation
            ).to(value.dtype)
        else:
            row, _, state = resolvent(
                potential, hop, value, self.energy, width,
                state=state, implementation=self.implementation,
            )  # fmt: skip
            if past is not None:
                past.advance(state, value.shape[1])
        gate = F.silu(gate) * width.sqrt().to(gate.dtype)
        return self.out_proj((row * gate[:, :, None]).flatten(2))
