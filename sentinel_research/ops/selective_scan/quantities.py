"""What a selective scan takes and returns.

Glossary, with the symbols of [1] in brackets: `rate` [A] is the decay rate of every state, negative
in Mamba; `write` [B] and `read` [C] say how a token enters the state and how the state is read;
`skip` [D] passes the input by; `gate` [z]; `dt` [Delta before its bias and softplus] is the step.
All but `rate` and `skip` depend on the token: that is what "selective" means.

Reference: [1] Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces,
algorithm 2, https://arxiv.org/abs/2312.00752
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class ScanInputs(NamedTuple):
    """The tensors of one scan, all on one device."""

    x: Float[Tensor, "batch seq channels"]
    """Values that enter the state."""
    dt: Float[Tensor, "batch seq channels"]
    """Steps, before `dt_bias` and softplus."""
    rate: Float[Tensor, "channels d_state"]
    """Decay rates; any real number, stable where negative."""
    write: Float[Tensor, "batch seq d_state"]
    """Weights with which a token enters the states."""
    read: Float[Tensor, "batch seq d_state"]
    """Weights with which the states are read."""
    skip: Float[Tensor, " channels"]
    """Weight of the input beside the state."""
    gate: Float[Tensor, "batch seq channels"]
    """The output is multiplied by silu of this."""
    dt_bias: Float[Tensor, " channels"]
    """Added to `dt`."""
    state: Float[Tensor, "batch channels d_state"] | None = None
    """State before the first token; None is zero."""

    def cast(self) -> "ScanInputs":
        """All tensors in the type that is computed in: float64 if `x` is, otherwise float32."""
        dtype = torch.float64 if self.x.dtype == torch.float64 else torch.float32
        return ScanInputs._make(None if one is None else one.to(dtype) for one in self)

    def initial_state(self) -> Float[Tensor, "batch channels d_state"]:
        """The given state, or zeros."""
        if self.state is not None:
            return self.state
        return self.x.new_zeros(self.x.shape[0], *self.rate.shape)


class Scanned(NamedTuple):
    """What a scan returns."""

    y: Float[Tensor, "batch seq channels"]
    """Outputs, in the type of `x`."""
    state: Float[Tensor, "batch channels d_state"]
    """State after the last token, in float32 or float64."""
