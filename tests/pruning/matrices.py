"""Matrices that the tests of sparsity share: tied scores, and a weight with correlated inputs."""

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from hypothesis import strategies
from torch import Tensor

GROUPS = [(2, 4), (4, 8), (1, 3), (0, 4), (4, 4)]
IDENTITY = torch.eye(8, dtype=torch.float64)
WEIGHT = torch.arange(1.0, 17.0).reshape(2, 8)

fractions_ = strategies.integers(0, 100).map(lambda percent: percent / 100)
# few distinct values, so that ties are common
tied_scores = strategies.tuples(strategies.integers(1, 7), strategies.integers(1, 9)).flatmap(
    lambda shape: strategies.lists(
        strategies.lists(strategies.integers(-3, 3), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: torch.tensor(rows, dtype=torch.float32))
)


class Layer(NamedTuple):
    """A weight with the inputs that it sees."""

    weight: Tensor
    inputs: Tensor
    hessian: Tensor


def correlated_layer(
    rows: int, columns: int, *, seed: int = 0, tokens: int = 200, dead: tuple[int, ...] = ()
) -> Layer:
    """A random weight that sees `tokens` correlated inputs, some of them always zero."""
    generator = torch.Generator().manual_seed(seed)
    # a spectrum that falls like a language model's: a few directions carry most of the variance
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    mixing = mixing / torch.arange(1, columns + 1)
    inputs = mixing @ torch.randn(columns, tokens, generator=generator, dtype=torch.float64)
    inputs[list(dead)] = 0.0
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return Layer(weight, inputs, inputs @ inputs.T)


def floor_of(fraction: float, total: int) -> int:
    """The floor of a fraction as written."""
    return math.floor(Fraction(str(fraction)) * total)


def lowest(scores: Tensor, count: int) -> set[int]:
    """Indices of the lowest of a flat tensor, ties by index, one comparison at a time."""
    return set(sorted(range(len(scores)), key=lambda i: (float(scores[i]), i))[:count])
