"""The verdict on a claim: where the intervals of its parts lie."""

import math
from collections.abc import Sequence

from sentinel_research.claims.estimate import estimate
from sentinel_research.claims.evidence import AbsentError, Evidence
from sentinel_research.claims.schema import (
    INCONCLUSIVE,
    NOT_MEASURED,
    REFUTED,
    SUPPORTED,
    Claim,
    JudgedPart,
    Judgement,
    Part,
    Verdict,
)

_LEVEL = 0.05


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """Judge a claim by what was measured.

    A part is supported where its whole interval lies in the region in which it holds, refuted where
    all of it lies outside, and inconclusive otherwise. The intervals of several parts are wider, so
    that all of them cover at once (Bonferroni).

    Args:
        claim: What is said.
        evidence: What was measured; its `hashes` are those of the files read here.

    Returns:
        `not measured` where a part has no number, with the reason.
    """
    confidence = 1 - _LEVEL / max(1, len(claim.parts))
    parts = tuple(_judged(part, evidence, confidence) for part in claim.parts)
    return Judgement(
        verdict=_together([part.verdict for part in parts]),
        parts=parts,
        evidence=dict(sorted(evidence.hashes.items())),
    )


def _judged(part: Part, evidence: Evidence, confidence: float) -> JudgedPart:
    try:
        found = estimate(part.statistic, evidence, confidence)
    except AbsentError as error:
        return JudgedPart(
            value=None,
            low=None,
            high=None,
            confidence=None,
            verdict=NOT_MEASURED,
            reason=error.message,
        )
    value, low, high = found.interval
    return JudgedPart(
        value=value,
        low=low,
        high=high,
        confidence=found.confidence,
        verdict=part.holds_if.place(low, high),
    )


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    if not verdicts:
        return NOT_MEASURED
    for one in (REFUTED, NOT_MEASURED, INCONCLUSIVE):
        if one in verdicts:
            return one
    return SUPPORTED


def differences(kept: Judgement, found: Judgement) -> list[str]:
    """How a judgement differs from one that was made of the same evidence before.

    Args:
        kept: What the claim's file says.
        found: What the evidence says now.
    """
    lines = []
    if kept.verdict != found.verdict:
        lines.append(f"verdict: {kept.verdict}, now {found.verdict}")
    if len(kept.parts) != len(found.parts):
        lines.append(f"parts: {len(kept.parts)}, now {len(found.parts)}")
    for number, (old, new) in enumerate(zip(kept.parts, found.parts, strict=False), 1):
        for name in ("value", "low", "high", "confidence", "verdict", "reason"):
            before, after = getattr(old, name), getattr(new, name)
            if not _same(before, after):
                lines.append(f"part {number}, {name}: {before}, now {after}")
    for path in sorted(kept.evidence.keys() | found.evidence.keys()):
        if kept.evidence.get(path) != found.evidence.get(path):
            lines.append(f"evidence: {path} is another file than the one that was judged")
    return lines


def _same(before: object, after: object) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-12)
    return before == after
