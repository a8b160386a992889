"""What makes two measurements not comparable."""

from sentinel_research.judgement.schema import Refusal


class NotComparableError(Exception):
    """There is nothing to test; it ends one finding, and is printed as its reason.

    Args:
        refusal: In a word.
        reason: With both values.
    """

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason
