"""What the kernels of the resolvent hand over."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


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
