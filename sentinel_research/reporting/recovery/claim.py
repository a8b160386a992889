"""Is it true that fine-tuning regains nearly all quality at 50 percent? Answered from the numbers.

The claim is that of the predecessor's fine-tuning guide, which gives no run for it. "Nearly all" is
made a number here: nine tenths of the loss.
"""

from typing import Literal, NamedTuple

from sentinel_research.reporting.numbers import coefficient, fraction, quantity
from sentinel_research.reporting.recovery.regained import AS_IS, SAME_BUDGET, Reference, Regained
from sentinel_research.reporting.recovery.results import TaskRecoveries

NEARLY_ALL = 0.9
CLAIMED_FRACTION = 0.5
# beyond it another question is answered
_FAR = 0.1
Answer = Literal["true", "false", "open", "not answerable"]


class Case(NamedTuple):
    """One recovery of one pruning, against one reference."""

    scorer: str
    recovery: str
    reference: Reference
    regained: Regained
    answer: Answer
    """`true` and `false` where the whole interval is on one side of nine tenths."""


class Claim(NamedTuple):
    """The claim at the run's fraction nearest to the claimed one."""

    claimed_fraction: float
    fraction: float
    nearly_all: float
    """From which fraction of the loss on it counts as nearly all."""
    cases: tuple[Case, ...]


def check_claim(found: TaskRecoveries, claimed: float = CLAIMED_FRACTION) -> Claim | None:
    """Decide the claim for every recovery at the nearest fraction; None if nothing was pruned.

    Args:
        found: The recoveries on one task.
        claimed: The fraction that the claim is about.
    """
    pruned = [one for one in found.results if not one.is_dense]
    if not pruned:
        return None
    nearest = min({one.fraction for one in pruned}, key=lambda share: (abs(share - claimed), share))
    cases = [
        Case(one.scorer, one.recovery, regained.reference, regained, _answer(regained))
        for one in pruned
        if one.fraction == nearest
        for regained in one.regained
    ]
    return Claim(claimed, nearest, NEARLY_ALL, tuple(cases))


def _answer(regained: Regained) -> Answer:
    if regained.value is None:
        return "not answerable"
    if regained.interval is None:
        return "open"
    if regained.interval.low >= NEARLY_ALL:
        return "true"
    return "false" if regained.interval.high < NEARLY_ALL else "open"


def claim_in_words(claim: Claim) -> tuple[str, ...]:
    """The claim and what is true here: a sentence for every reference.

    Args:
        claim: As decided.
    """
    asked = (
        f'"Fine-tuning regains nearly all quality at {fraction(claim.claimed_fraction)}": nearly '
        f"all is taken as at least {claim.nearly_all:g} of the loss, with the whole 95% interval."
    )
    if abs(claim.fraction - claim.claimed_fraction) > _FAR:
        asked += (
            f" The nearest fraction of this run is {fraction(claim.fraction)}: what follows is "
            "about that one."
        )
    return (asked, *(_sentence(claim, reference) for reference in (AS_IS, SAME_BUDGET)))


def _sentence(claim: Claim, reference: Reference) -> str:
    cases = [case for case in claim.cases if case.reference == reference]
    counts = {
        answer: sum(case.answer == answer for case in cases)
        for answer in ("true", "false", "open", "not answerable")
    }
    text = (
        f"At {fraction(claim.fraction)}, against the {reference}: {_verdict(counts)} Of "
        f"{quantity(len(cases), 'pair')} of criterion and recovery it is true of "
        f"{counts['true']}, false of {counts['false']}, open for {counts['open']}"
    )
    text += (
        f", without a number for {counts['not answerable']}." if counts["not answerable"] else "."
    )
    known = [case for case in cases if case.regained.value is not None]
    if not known:
        return text
    ordered = sorted(known, key=lambda case: case.regained.value or 0.0)
    most, least = ordered[-1], ordered[0]
    text += f" Most was regained by {_in_words(most)}"
    return f"{text}, least by {_in_words(least)}." if least is not most else f"{text}."


def _verdict(counts: dict[str, int]) -> str:
    decided = counts["true"] + counts["false"]
    if not decided:
        return "the run cannot decide it."
    if counts["true"] == sum(counts.values()):
        return "the claim holds."
    if counts["false"] == sum(counts.values()):
        return "the claim does not hold."
    if not counts["true"]:
        return "the claim is nowhere shown to hold."
    return "the claim does not hold in general." if counts["false"] else "the claim holds in part."


def _in_words(case: Case) -> str:
    value, interval = case.regained.value, case.regained.interval
    assert value is not None  # the caller's cases have one
    text = f"{case.scorer} with {case.recovery}, {coefficient(value)}"
    if interval is None:
        return f"{text} (no interval)"
    return f"{text} ({coefficient(interval.low)} to {coefficient(interval.high)})"
