"""The definition, step by step in complex arithmetic: the oracle of the other implementations."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def forward(
    potential: Float[Tensor, "batch seq channels"],
    hop: Float[Tensor, "batch seq channels"],
    value: Float[Tensor, "batch seq channels"],
    energy: Float[Tensor, " channels"],
    width: Float[Tensor, " channels"],
    state: Float[Tensor, "batch 4 channels"],
) -> Float[Tensor, "batch seq 4 channels"]:
    """Both recursions, differentiable by autograd.

    Args:
        potential: h_i.
        hop: c_i.
        value: u_i.
        energy: E.
        width: eta, positive.
        state: Re x, Im x, Re g and Im g of the position before the first.

    Returns:
        Re x, Im x, Re g and Im g of every position.
    """
    shift = torch.complex(energy, width)
    row, green = unpack(state)
    rows, greens = [], []
    for index in range(potential.shape[1]):
        h, c, u = potential[:, index], hop[:, index], value[:, index]
        green = 1 / (shift - h - c * c * green)
        row = green * (u + c * row)
        rows.append(row)
        greens.append(green)
    return pack(torch.stack(rows, 1), torch.stack(greens, 1))


def pack(
    row: Complex[Tensor, "*leading channels"], green: Complex[Tensor, "*leading channels"]
) -> Float[Tensor, "*leading 4 channels"]:
    """Two complex tensors as four real planes."""
    return torch.stack([row.real, row.imag, green.real, green.imag], -2)


def unpack(
    planes: Float[Tensor, "*leading 4 channels"],
) -> tuple[Complex[Tensor, "*leading channels"], Complex[Tensor, "*leading channels"]]:
    """The inverse of `pack`."""
    row_real, row_imag, green_real, green_imag = planes.unbind(-2)
    return torch.complex(row_real, row_imag), torch.complex(green_real, green_imag)
