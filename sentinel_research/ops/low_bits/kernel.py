"""Few rows times a matrix of 8 or 4 bits on the CPU: every weight is read once, at its own size.

Decoding reads all weights for one row of activations, and takes as long as their bytes take to
come from memory. The products are those of float32 weights; only the order of the sums differs.
"""

import numpy as np

from sentinel_research.ops.compiled import compiled

_SUMS = ("contract", "reassoc", "nsz")


@compiled(_SUMS)
def eight_bits(first, stop, x, numbers, steps, y):
    """`y[t, o] = steps[o] sum over i of numbers[o, i] x[t, i]` for outputs `first` to `stop`."""
    num_rows, num_inputs = x.shape
    for output in range(first, stop):
        for row in range(num_rows):
            total = np.float32(0)
            for place in range(num_inputs):
                total += np.float32(numbers[output, place]) * x[row, place]
            y[row, output] = total * steps[output, 0]


@compiled(_SUMS)
def four_bits(first, stop, x, packed, steps, y, half, size):
    """The same of numbers of 4 bits in groups of `size` inputs, each in `half` bytes."""
    num_rows, num_inputs = x.shape
    num_groups = steps.shape[1]
    # a group may write one number more than it has, which the next one overwrites
    weights = np.zeros(num_groups * size + 1, np.float32)
    for output in range(first, stop):
        for group in range(num_groups):
            step, start, byte = steps[output, group], group * size, group * half
            for place in range(half):
                low = np.int32(packed[output, byte + place] & 15) - np.int32(8)
                weights[start + place] = np.float32(low) * step
            for place in range(half):
                high = np.int32(packed[output, byte + place] >> 4) - np.int32(8)
                weights[start + half + place] = np.float32(high) * step
        for row in range(num_rows):
            total = np.float32(0)
            for place in range(num_inputs):
                total += weights[place] * x[row, place]
            y[row, output] = total
