"""Findings of paired comparisons as cells of a table."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sentinel_research.reporting.numbers import number, p_value
from sentinel_research.reporting.tables import Cell

if TYPE_CHECKING:
    from sentinel_research.judgement.schema import Finding

HEADERS = ("difference", "95% interval", "adjusted p", "verdict")
NONE = Cell("-", kind="number")
_KINDS: dict[str, Any] = {"better": "good", "worse": "bad"}


def finding_cells(finding: "Finding") -> tuple[Cell, ...]:
    """What `HEADERS` name: second less first of a pair, and the verdict on the second."""
    verdict = Cell(finding.verdict, finding.reason, _KINDS.get(finding.verdict, "text"))
    found = finding.evidence
    if found is None:
        return NONE, NONE, NONE, verdict
    return (
        Cell(f"{found.difference:+.4g}", str(found.difference), "number"),
        Cell(f"{found.low:+.4g} to {found.high:+.4g}", kind="number"),
        Cell(p_value(found.p_adjusted), str(found.p_adjusted), "number"),
        verdict,
    )


def value_cell(value: float | None, finding: "Finding") -> Cell:
    """The second's value with the interval of its difference to the first, shown as the verdict."""
    found = finding.evidence
    if value is None:
        return Cell("not measured", finding.reason, "missing")
    if found is None:
        return Cell(f"{number(value)} ({finding.refusal})", finding.reason, "number")
    text = f"{number(value)} ({found.low:+.3g} to {found.high:+.3g})"
    title = f"{finding.verdict}, adjusted p {p_value(found.p_adjusted)}"
    return Cell(text, title, _KINDS.get(finding.verdict, "number"))


def explain_family(findings: Iterable["Finding"], what: str) -> str:
    """How a family was tested, in a sentence.

    Args:
        findings: The family.
        what: What one verdict is about.
    """
    known = list(findings)
    tested = sum(one.evidence is not None for one in known)
    tests = sorted({one.evidence.test for one in known if one.evidence is not None})
    by = f" ({', '.join(tests)})" if tests else ""
    return (
        f"{what}, paired document by document{by}: {tested} of {len(known)} comparisons tested, "
        "corrected together; an adjusted two-sided p below the level of the recipe is a verdict. "
        "Intervals are bootstraps over documents, of each comparison alone."
    )


def list_reasons(findings: Iterable["Finding"]) -> str:
    """Why there are findings without a verdict, each reason once."""
    reasons = {f"{one.task}: {one.reason}" for one in findings if one.reason}
    return " ".join(f"{reason}." for reason in sorted(reasons))
