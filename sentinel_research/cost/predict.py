"""What arithmetic allows: the time of a phase at the machine's own rates.

Reference: Williams et al. 2009, Roofline, https://doi.org/10.1145/1498765.1498785: a phase takes
the longer of the time of its operations and of the time to move its bytes. Nothing overlaps
perfectly, so that both alternatives are longer in truth; the prediction is of their ratio.
"""

from functools import partial

import torch
from torch.nn.functional import linear

from sentinel_research.cost.counts import Work
from sentinel_research.cost.schema import Bound, Clock, Rates
from sentinel_research.machine import wait_for
from sentinel_research.timing import Action, measure, median_interval

_SQUARE = 1024
_WIDE = 6144
_NUM_TIMES = 5


def machine_rates(device: str, dtype: torch.dtype, clock: Clock) -> Rates:
    """Measure how fast the machine multiplies and reads now.

    Args:
        device: torch device.
        dtype: Of the numbers.
        clock: By which the phases are judged.
    """
    square = torch.ones(_SQUARE, _SQUARE, dtype=dtype, device=device)
    # 151 MB of float32: more than a cache holds
    wide = torch.ones(_WIDE, _WIDE, dtype=dtype, device=device)
    vector = torch.ones(1, _WIDE, dtype=dtype, device=device)
    actions = {
        "product": Action(lambda _: square @ square),
        "read": Action(lambda _: linear(vector, wide)),
    }
    samples = measure(actions, _NUM_TIMES, partial(wait_for, device))
    seconds = {
        name: median_interval([getattr(one, f"{clock}_seconds") for one in found]).median
        for name, found in samples.items()
    }
    return Rates(
        flops_per_second=2 * _SQUARE**3 / seconds["product"],
        bytes_per_second=wide.numel() * wide.element_size() / seconds["read"],
    )


def predicted_seconds(work: Work, rates: Rates) -> float:
    """The longer of computing and moving."""
    return max(work.flops / rates.flops_per_second, work.bytes_moved / rates.bytes_per_second)


def bound(work: Work, reference: Work, rates: Rates) -> Bound:
    """How many times as fast as the reference a model can be.

    Example:
        >>> rates = Rates(flops_per_second=10.0, bytes_per_second=1.0)
        >>> bound(Work(50, 2, 0), Work(100, 8, 0), rates).speed_up
        2.0
    """
    return Bound(
        flops_ratio=reference.flops / work.flops,
        bytes_ratio=reference.bytes_moved / work.bytes_moved,
        speed_up=predicted_seconds(reference, rates) / predicted_seconds(work, rates),
    )
