"""Inputs of the causal resolvent, for several test modules."""

import torch
from torch import Tensor

from sentinel_research.ops.resolvent import IMPLEMENTATIONS, Resolvent, resolvent

ON_CPU = [name for name in IMPLEMENTATIONS if name != "triton"]
FAST = [name for name in ON_CPU if name != "naive"]


def random_inputs(
    batch: int, length: int, channels: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """h, c, u, E, eta and a state."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    sequences = [normal(batch, length, channels) for _ in range(3)]
    width = 0.1 + normal(channels).abs()
    # a state that a past can have left: Im g < 0 and |g| <= 1/eta
    state = torch.stack([normal(batch, channels) for _ in range(4)], 1) * 0.3 / width
    return [*sequences, normal(channels), width, torch.cat([state[:, :3], -state[:, 3:].abs()], 1)]


def run(inputs: list[Tensor], implementation: str) -> Resolvent:
    """Of what `random_inputs` returns, with the Green's function."""
    *rest, state = inputs
    return resolvent(*rest, state=state, with_green=True, implementation=implementation)


def as_complex(planes: Tensor) -> Tensor:
    """`[..., 2, channels]` of real and imaginary parts."""
    return torch.complex(*planes.unbind(-2))
