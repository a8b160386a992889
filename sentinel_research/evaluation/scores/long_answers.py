"""Answers longer than a model's window, scored in pieces.

The log-likelihood of an answer is the sum over its tokens, each given what is before it. A piece is
half of the window, so that every token is given at least half a window of text before it. lm-eval
stops at such an answer.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""Texts, tokens of the prompt and tokens of the answer, as in lm-eval."""
Score = tuple[float, bool]
"""Log-likelihood in nats, and whether the answer is the most likely text."""

_LOG = logging.getLogger(__name__)


class Pieces(NamedTuple):
    """Requests that fit a model."""

    requests: list[Request]
    """All pieces of the first answer, then those of the second, and so on."""
    counts: list[int]
    """Number of pieces of each answer."""

    def join(self, scores: Sequence[Score]) -> list[Score]:
        """The score of each answer, from those of all pieces."""
        found = []
        start = 0
        for count in self.counts:
            part = scores[start : start + count]
            found.append((sum(value for value, _ in part), all(greedy for _, greedy in part)))
            start += count
        return found


def split_answers(requests: Sequence[Request], max_length: int) -> Pieces:
    """Split the answers that are longer than a model's window.

    Args:
        requests: Of any length.
        max_length: The window in tokens.

    Example:
        >>> split_answers([(None, [1], [2, 3, 4, 5, 6])], 4).requests
        [(None, [1], [2, 3]), (None, [1, 2, 3], [4, 5]), (None, [1, 2, 3, 4, 5], [6])]
    """
    pieces: list[Request] = []
    counts = []
    size = max(1, max_length // 2)
    for texts, prompt, answer in requests:
        if len(answer) <= max_length:
            pieces.append((texts, prompt, answer))
            counts.append(1)
            continue
        starts = range(0, len(answer), size)
        pieces.extend((None, prompt + answer[:at], answer[at : at + size]) for at in starts)
        counts.append(len(starts))
    num_split = sum(count > 1 for count in counts)
    if num_split:
        _LOG.warning(
            "%d of %d answers are longer than the %d tokens that the model reads: they are scored "
            "in pieces of %d",
            num_split,
            len(counts),
            max_length,
            size,
        )
    return Pieces(pieces, counts)
