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
            step, start = steps[output, group], group * size
            # slices: with sums as indices the loops do not become vector code
            both = packed[output, group * half : (group + 1) * half]
            low, high = weights[start : start + half], weights[start + half : start + 2 * half]
            for place in range(half):
                low[place] = np.float32(np.int32(both[place] & 15) - np.int32(8)) * step
            for place in range(half):
                high[place] = np.float32(np.int32(both[place] >> 4) - np.int32(8)) * step
        for row in range(num_rows):
            total = np.float32(0)
            for place in range(num_inputs):
                total += weights[place] * x[row, place]
            y[row, output] = total


@compiled(_SUMS)
def on_grids(first, stop, x, numbers, steps, low, levels, smallest):
    """Rows `first` to `stop` as numbers from 0 to `levels`, not rounded; see `int8_rows`."""
    num_inputs = x.shape[1]
    for row in range(first, stop):
        least = largest = x[row, 0]
        # a sum is NaN or infinite where any entry is; comparisons would pass over NaN
        total = np.float32(0)
        for place in range(num_inputs):
            value = x[row, place]
            least = min(least, value)
            largest = max(largest, value)
            total += value * np.float32(0)
        step = max((largest - least) / levels, smallest) + total
        steps[row, 0], low[row, 0] = step, least
        inverse = np.float32(1) / step
        for place in range(num_inputs):
            numbers[row, place] = (x[row, place] - least) * inverse


@compiled(("contract", "nsz"))
def from_grids(first, stop, products, steps, low, sums, bias):
    """`products[t, o] steps[t] + low[t] sums[o] + bias[o]` for rows `first` to `stop`, in place."""
    num_outputs = products.shape[1]
    for row in range(first, stop):
        step, least = steps[row, 0], low[row, 0]
        for output in range(num_outputs):
            rest = least * sums[output] + bias[output]
            products[row, output] = products[row, output] * step + rest
