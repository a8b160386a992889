"""Differences between things that were measured at the same seeds, tested and in words."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from sentinel_research.paired import PairedTest, paired_test
from sentinel_research.reporting.numbers import number, p_value, quantity
from sentinel_research.reporting.tables import Cell
from sentinel_research.statistics import holm

LEVEL = 0.05
HEADERS = ("95% interval", "t test p", "after Holm", "verdict on the first")
"""Of the cells behind the names and the mean difference."""
MORE_HEADERS = ("detectable difference", "seeds")
"""Of the last cells."""
Verdict = Literal["better", "worse", "no difference found", "not comparable"]
_NONE = Cell("-", kind="number")


class Pair(NamedTuple):
    """Two things to compare."""

    first: str
    second: str
    first_values: Mapping[int, float]
    """By seed."""
    second_values: Mapping[int, float]
    """By seed; only seeds of both are compared."""


class Difference(NamedTuple):
    """Two things on one task, paired by seed."""

    first: str
    second: str
    test: PairedTest | None
    """First less second; null where it could not be tested."""
    p_adjusted: float | None
    """After Holm over all pairs of the family."""
    verdict: Verdict
    """Of the first."""
    reason: str
    """Why it could not be tested; empty if it was."""


def paired_differences(
    pairs: Iterable[Pair], higher_is_better: bool | None
) -> tuple[Difference, ...]:
    """Test one family of pairs, corrected by Holm.

    Args:
        pairs: The family.
        higher_is_better: Direction of the values; null where the task does not say.
    """
    family = list(pairs)
    tests, reasons = [], []
    for pair in family:
        shared = sorted(pair.first_values.keys() & pair.second_values.keys())
        reason = "" if len(shared) > 1 else f"{len(shared)} seed(s) in common, two are needed"
        test = None
        if not reason:
            test = paired_test(
                [pair.first_values[seed] for seed in shared],
                [pair.second_values[seed] for seed in shared],
            )
            reason = "" if test is not None else "the same difference at every seed"
        tests.append(test)
        reasons.append(reason)
    adjusted = iter(holm([test.p_value for test in tests if test is not None]))
    return tuple(
        Difference(
            first=pair.first,
            second=pair.second,
            test=test,
            p_adjusted=(p := None if test is None else next(adjusted)),
            verdict=_verdict(test, p, higher_is_better),
            reason=reason,
        )
        for pair, test, reason in zip(family, tests, reasons, strict=True)
    )


def difference_cells(one: Difference) -> tuple[Cell, ...]:
    """The mean difference and what `HEADERS` and `MORE_HEADERS` name."""
    kind: Any = {"better": "good", "worse": "bad"}.get(one.verdict, "text")
    verdict = Cell(one.verdict, one.reason, kind)
    if one.test is None or one.p_adjusted is None:
        return (*[_NONE] * 4, verdict, _NONE, _NONE)
    value, low, high = one.test.difference
    return (
        Cell(f"{value:+.4f}", str(value), "number"),
        Cell(f"{low:+.4f} to {high:+.4f}", kind="number"),
        Cell(p_value(one.test.p_value), str(one.test.p_value), "number"),
        Cell(p_value(one.p_adjusted), str(one.p_adjusted), "number"),
        verdict,
        Cell(number(one.test.detectable), str(one.test.detectable), "number"),
        Cell(str(one.test.num_pairs), kind="number"),
    )


def explain_differences(num_pairs: int, of: str = "pair") -> str:
    """How a table of differences was tested, in sentences.

    Args:
        num_pairs: Size of the family.
        of: What one of them is called.
    """
    return (
        f"Student's t test of differences paired by seed, corrected by Holm over "
        f"{quantity(num_pairs, of)}; better and worse mean an adjusted two-sided p below {LEVEL}. "
        "Detectable: the smallest true difference that the test without correction finds four "
        "times in five."
    )


def _verdict(test: PairedTest | None, p: float | None, higher_is_better: bool | None) -> Verdict:
    if test is None or p is None or higher_is_better is None:
        return "not comparable"
    if p >= LEVEL:
        return "no difference found"
    return "better" if (test.difference.value > 0) == higher_is_better else "worse"
