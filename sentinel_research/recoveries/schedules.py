"""When masks change while a model trains, and how much of it is gone then. Pure arithmetic.

References: [1] Zhu & Gupta 2017, To prune, or not to prune, equation 1,
https://arxiv.org/abs/1710.01878; [2] Evci et al. 2020, Rigging the Lottery, section 3 (2),
https://arxiv.org/abs/1911.11134.
"""

import itertools
import math
from typing import Literal

from sentinel_research.errors import UsageError

Shape = Literal["cubic", "linear"]
_POWER: dict[Shape, int] = {"cubic": 3, "linear": 1}


def fraction_at(final: float, progress: float, shape: Shape) -> float:
    """How much is gone: `s_t = s_f - s_f (1 - (t - t_0) / (n dt))^3`, [1] from nothing.

    Args:
        final: `s_f`, in [0, 1].
        progress: `(t - t_0) / (n dt)`, in [0, 1].
        shape: `linear` has the power 1 in place of 3.

    Returns:
        In [0, final]; never falls with `progress`, and is `final` exactly at 1.

    Example:
        >>> [fraction_at(0.5, share, "cubic") for share in (0, 0.5, 1)]
        [0.0, 0.4375, 0.5]
    """
    return float(final * (1 - (1 - progress) ** _POWER[shape]))


def gradual_updates(
    final: float, num_steps: int, num_updates: int, begin: float, end: float, shape: Shape
) -> dict[int, float]:
    """The updates of [1]: `n` of them at equal distances, the first one `dt` after `t_0`.

    Args:
        final: Fraction at the last update.
        num_steps: Of the training.
        num_updates: `n`.
        begin: `t_0` as a share of the steps.
        end: `t_0 + n dt` as a share of the steps.
        shape: See `fraction_at`.

    Returns:
        By step (before which it happens) the fraction from then on.

    Raises:
        UsageError: if two updates would meet, or the last one comes after the last step.

    Example:
        >>> gradual_updates(0.5, 8, 2, 0.0, 0.5, "cubic")
        {2: 0.4375, 4: 0.5}
    """
    shares = [(index + 1) / num_updates for index in range(num_updates)]
    steps = [round((begin + share * (end - begin)) * num_steps) for share in shares]
    if steps[-1] >= num_steps or any(one == other for one, other in itertools.pairwise(steps)):
        raise UsageError(
            f"{num_updates} updates of the mask between {begin:g} and {end:g} of {num_steps} steps "
            f"would come before the steps {steps}, counted from 0",
            "each needs a step of its own before the last one: lower `num_updates` or `end`, or "
            "train longer",
        )
    return {
        step: fraction_at(final, share, shape) for step, share in zip(steps, shares, strict=True)
    }


def repeated_updates(fraction: float, num_steps: int, every: int, until: float) -> dict[int, float]:
    """Updates before the first step and then every so many, at one fraction.

    Args:
        fraction: At all of them.
        num_steps: Of the training.
        every: Steps between two updates.
        until: Share of the steps from which on there is none.

    Returns:
        As `gradual_updates`.

    Raises:
        UsageError: if there is none beside that before the first step.

    Example:
        >>> repeated_updates(0.5, 10, 3, 0.9)
        {0: 0.5, 3: 0.5, 6: 0.5}
    """
    steps = range(0, math.ceil(until * num_steps), every)
    if len(steps) < 2:
        raise UsageError(
            f"a mask that changes every {every} steps until {until:g} of {num_steps} steps never "
            "changes",
            "lower `every`, raise `until`, or train longer",
        )
    return dict.fromkeys(steps, fraction)


def exchanged_share(initial: float, step: int, end: float) -> float:
    """Share of the active units that are exchanged: `alpha / 2 (1 + cos(t pi / T_end))`, [2].

    Args:
        initial: `alpha`, in [0, 1].
        step: `t`, in [0, end].
        end: `T_end`, in steps.

    Example:
        >>> exchanged_share(0.3, 50, 100)
        0.15
    """
    return initial * ((1 + math.cos(step * math.pi / end)) / 2)
