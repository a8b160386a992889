"""How many sequences are read in a pass: as many as was asked for, or as are found to pay.

`auto` reads nothing for the sake of measuring. It begins small, doubles while that reads more
tokens a second, and goes back by one step where it does not. Memory that does not suffice halves
either.
"""

from typing import Any

_FIRST = 8
# less than that is the noise of a machine
_WORTH = 1.05


class BatchSize:
    """The size of the next pass.

    Args:
        size: As asked for; None finds one.
        most: What it may grow to.

    Attributes:
        value: Sequences of the greatest length.
    """

    def __init__(self, size: int | None, most: int) -> None:
        self.value = min(_FIRST, most) if size is None else size
        self._most, self._grows = most, size is None
        self._best = 0.0

    @classmethod
    def of(cls, lm: Any) -> "BatchSize":
        """As an HFLM was told."""
        size = None if lm.batch_size == "auto" else int(lm.batch_size)
        return cls(size, int(lm.max_batch_size))

    def measured(self, num_sequences: int, num_tokens: int, seconds: float) -> None:
        """Take a pass into account; one that was not full says nothing."""
        if not self._grows or num_sequences < self.value:
            return
        rate = num_tokens / seconds
        if rate < _WORTH * self._best:
            self.value, self._grows = max(1, self.value // 2), False
        elif 2 * self.value > self._most:
            self._grows = False
        else:
            self._best, self.value = rate, 2 * self.value

    def failed(self, num_sequences: int) -> None:
        """Half of what did not fit is the most from here on."""
        self.value, self._grows = max(1, min(self.value, num_sequences // 2)), False
