"""Two whole numbers of 4 bits in a byte.

The numbers of a group fill the low halves of its bytes first and then the high halves, so that a
kernel reads both in order. A group of an odd number of inputs has one more, which is 0.

Glossary: `O` outputs, `I` inputs, `G` groups of an output's inputs, `H` bytes of a group.
"""

import torch
from jaxtyping import Int8, UInt8
from torch import Tensor
from torch.nn import functional as F

_OFFSET = 8


def half_width(num_inputs: int, group_size: int) -> int:
    """Bytes that a group takes: `H`."""
    return (min(group_size, num_inputs) + 1) // 2


def pack_nibbles(
    numbers: Int8[Tensor, "outputs inputs"], group_size: int
) -> UInt8[Tensor, "outputs bytes"]:
    """Numbers from -8 to 7, two in a byte.

    Args:
        numbers: `[O, I]`.
        group_size: Consecutive inputs of a group; the last one may have fewer.

    Returns:
        `[O, G H]`.

    Example:
        >>> import torch
        >>> pack_nibbles(torch.tensor([[1, -1, 2]], dtype=torch.int8), 64).tolist()
        [[169, 135]]
    """
    size = min(group_size, numbers.shape[1])
    groups = F.pad(numbers, (0, -numbers.shape[1] % size)).unflatten(1, (-1, size))
    halves = F.pad(groups, (0, size % 2)).add(_OFFSET).to(torch.uint8)  # [O, G, 2 H]
    low, high = halves.chunk(2, dim=-1)
    return (low | (high << 4)).flatten(1)


def unpack_nibbles(
    packed: UInt8[Tensor, "outputs bytes"], num_inputs: int, group_size: int
) -> Int8[Tensor, "outputs inputs"]:
    """What `pack_nibbles` was given."""
    size = min(group_size, num_inputs)
    groups = packed.unflatten(1, (-1, half_width(num_inputs, group_size)))
    halves = torch.cat([groups & 15, groups >> 4], dim=-1)[..., :size]
    return halves.to(torch.int8).sub_(_OFFSET).flatten(1)[:, :num_inputs]
