"""What was timed of one iteration, as it is kept."""

from typing import Literal

from sentinel_research.specs.base import Frozen

Seconds = tuple[float, float]
"""Wall time and processor time."""


class ArmTimes(Frozen, allow_inf_nan=False):
    """One arm at one level."""

    arm: str
    level: float
    first_token_seconds: tuple[Seconds, ...]
    """One a round."""
    decoding_seconds: tuple[Seconds, ...]
    """From the first token to the last, one a round."""
    num_decoded: int
    """Tokens after the first one."""
    weights_bytes: int
    writing_bytes: int | None
    """How far memory rose while one text was written; null where that was not asked for, or the
    system keeps no peak."""


class Times(Frozen, allow_inf_nan=False):
    """One iteration."""

    arms: tuple[ArmTimes, ...]
    has_memory: bool
    """Whether memory was asked for."""
    num_threads: int
    device: str
    memory_kind: Literal["resident set", "cuda"]
