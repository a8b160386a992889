"""The states of a head, as a function of its running statistics: nothing else moves them.

A head is `withdrawn` if hardly anything of the block's output comes through it, `misaligned` if its
output points where the loss grows, `overloaded` if its attention is concentrated on few keys, and
`active` otherwise. The three statistics are defined in `statistics`.

Reference: the four names are those of sentinel-ai (https://github.com/CambrianTech/sentinel-ai),
where nothing ever set two of the states and the forward pass of an evaluation changed them.
"""

from enum import IntEnum
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sentinel_research.specs import StatePolicy


class HeadState(IntEnum):
    """What a head is for the policy."""

    ACTIVE = 0
    OVERLOADED = 1
    MISALIGNED = 2
    WITHDRAWN = 3


class Lock(IntEnum):
    """What the operator has decided about a head, which no policy overrides."""

    NONE = 0
    WITHDRAWN = 1
    ACTIVE = 2


class HeadStatistics(NamedTuple):
    """What was measured about the heads of one layer."""

    utilisation: Float[Tensor, " heads"]
    """1 less the normalised attention entropy, in [0, 1]: 1 looks at one key, 0 at all alike."""
    alignment: Float[Tensor, " heads"]
    """Cosine of the head's output and the negative gradient of the loss, in [-1, 1]."""
    usage: Float[Tensor, " heads"]
    """Share of the block's output that comes through the head, in [0, 1]; they sum to 1."""


def next_states(
    states: Int[Tensor, " heads"], statistics: HeadStatistics, policy: StatePolicy
) -> Int[Tensor, " heads"]:
    """The states that follow from running statistics, with hysteresis.

    Args:
        states: `HeadState` codes now.
        statistics: Running means.
        policy: Thresholds.

    Returns:
        `HeadState` codes, of the type of `states`.
    """
    relative_usage = statistics.usage * len(states)

    def holds(state: HeadState, enter: Tensor, stay: Tensor) -> Tensor:
        return torch.where(states == state, stay, enter)

    overloaded = holds(
        HeadState.OVERLOADED,
        statistics.utilisation > policy.overload_above,
        statistics.utilisation >= policy.relieve_below,
    )
    misaligned = holds(
        HeadState.MISALIGNED,
        statistics.alignment < policy.misalign_below,
        statistics.alignment <= policy.realign_above,
    )
    withdrawn = holds(
        HeadState.WITHDRAWN,
        relative_usage < policy.withdraw_below,
        relative_usage <= policy.return_above,
    )
    found = torch.zeros_like(states)
    # the last one that holds wins
    for state, is_in in (
        (HeadState.OVERLOADED, overloaded),
        (HeadState.MISALIGNED, misaligned),
        (HeadState.WITHDRAWN, withdrawn),
    ):
        found = found.masked_fill(is_in, state)
    return found


def locked(states: Int[Tensor, " heads"], locks: Int[Tensor, " heads"]) -> Int[Tensor, " heads"]:
    """States after the operator's locks: withdrawn consent stays withdrawn, a held head active."""
    found = states.masked_fill(locks == Lock.WITHDRAWN, HeadState.WITHDRAWN)
    return found.masked_fill(locks == Lock.ACTIVE, HeadState.ACTIVE)


def multipliers(
    states: Int[Tensor, " heads"], policy: StatePolicy | None
) -> Float[Tensor, " heads"]:
    """What each head's output is multiplied by in its state.

    Args:
        states: `HeadState` codes.
        policy: Multipliers; None for 1, and 0 for withdrawn heads, which are 0 under any policy.

    Returns:
        float32.
    """
    by_state = [1.0, 1.0, 1.0, 0.0]
    if policy is not None:
        by_state = [policy.active, policy.overloaded, policy.misaligned, 0.0]
    return torch.tensor(by_state, device=states.device)[states.long()]
