"""Gated attention as a loop over heads: the plain way, kept to be compared with.

Every head has projections of its own; it is computed, gated and projected by itself, and what the
heads return is added up. The form is that of sentinel-ai's first implementation [1], and its causal
mask is an addend that was built before. We differ: that one also divides each head's output by its
mean norm and the sum by the number of heads, which is not attention for any gate, clips gates to
[0, 1], and notes each head's entropy. Without these the loop is a little faster, and its output is
that of the attention block that it was made from.

Glossary: `B` batch, `T` positions, `H` heads, `D` head width, `E` hidden size.

Reference: [1] https://github.com/CambrianTech/sentinel-ai, models/adaptive_transformer.py.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sentinel_research.models.agency import HeadGate


class HeadLoop(nn.Module):
    """The heads of one attention block, one after the other.

    Args:
        attention: GPT-2's, dense or pruned; its weights are copied.
        gate: Of its heads, `static`; their values and states are copied.
        max_length: Positions that it can read.
    """

    gates: Float[Tensor, " heads"]
    mask: Float[Tensor, "length length"]

    def __init__(self, attention: nn.Module, gate: HeadGate, max_length: int) -> None:
        super().__init__()
        num_heads, head_dim = gate.num_heads, gate.head_dim
        inputs, output = attention.get_submodule("c_attn"), attention.get_submodule("c_proj")
        # [E, 3 * H * D] and [H * D, E]: rows are inputs
        weights = inputs.get_parameter("weight").unflatten(1, (3, num_heads, head_dim))
        biases = inputs.get_parameter("bias").view(3, num_heads, head_dim)
        self.queries, self.keys, self.values = (
            nn.ModuleList(
                _linear(weights[:, kind, head], biases[kind, head]) for head in range(num_heads)
            )
            for kind in range(3)
        )
        # the heads share the bias, so that their sum has it once
        shared = output.get_parameter("bias") / num_heads
        self.outputs = nn.ModuleList(
            _linear(weight, shared)
            for weight in output.get_parameter("weight").unflatten(0, (num_heads, head_dim))
        )
        self.scale = head_dim**-0.5
        future = torch.full((max_length, max_length), -torch.inf).triu(1)
        self.register_buffer("mask", future.to(weights))
        self.register_buffer("gates", (gate.values(1, None) * gate.multiplier).detach())

    def forward(
        self, hidden: Float[Tensor, "batch time hidden"]
    ) -> Float[Tensor, "batch time hidden"]:
        """What the block returns for the same input."""
        length = hidden.shape[1]
        total = torch.zeros_like(hidden)
        for head, gate in enumerate(self.gates):
            query, key = self.queries[head](hidden), self.keys[head](hidden)  # [B, T, D]
            scores = query @ key.transpose(1, 2) * self.scale + self.mask[:length, :length]
            attended = scores.softmax(dim=-1) @ self.values[head](hidden)
            total = total + self.outputs[head](attended * gate)
        return total


def _linear(weight: Float[Tensor, "inputs outputs"], bias: Float[Tensor, " outputs"]) -> nn.Linear:
    """A layer with a copy of weights whose rows are inputs."""
    num_inputs, num_outputs = weight.shape
    layer = nn.Linear(num_inputs, num_outputs, device="meta")
    layer.weight = nn.Parameter(weight.detach().T.contiguous())
    layer.bias = nn.Parameter(bias.detach().clone())
    return layer
