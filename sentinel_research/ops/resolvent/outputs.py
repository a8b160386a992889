"""What the kernels of the resolvent hand over, and how many operations they do."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

FORWARD_FLOPS = 20
"""Real additions, multiplications and one division per position and channel, forward."""
BACKWARD_FLOPS = 48
"""The same of the adjoint."""


class Outputs(NamedTuple):
    """Of the forward kernels."""

    row: Float[Tensor, "batch seq 2 channels"]
    """Re x and Im x."""
    green: Float[Tensor, "batch length 2 channels"]
    """Re g and Im g; of length 0 if they were not asked for."""
    last: Float[Tensor, "batch 4 channels"]
    """Re x, Im x, Re g and Im g of the last position."""


class Gradients(NamedTuple):
    """Of a scalar with respect to the arguments of the forward kernels."""

    potential: Float[Tensor, "batch seq channels"]
    hop: Float[Tensor, "batch seq channels"]
    value: Float[Tensor, "batch seq channels"]
    energy: Float[Tensor, " channels"]
    width: Float[Tensor, " channels"]
    state: Float[Tensor, "batch 4 channels"]
