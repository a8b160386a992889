"""The ledger as a page: questions with their answers, then every claim with its intervals."""

from typing import Any

from sentinel_research.claims.ledger import (
    HOW,
    Entry,
    Ledger,
    counts_in_words,
    found_in_words,
    in_words,
)
from sentinel_research.claims.schema import JudgedPart
from sentinel_research.claims.schema import Part as ClaimPart
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.document import Document, Section
from sentinel_research.reporting.tables import Cell, Table

_KINDS: dict[str, Any] = {"supported": "good", "refuted": "bad"}
_HEADERS = ("what is said", "quantity", "holds if", "found", "verdict")


def ledger_page(ledger: Ledger) -> Document:
    """Everything that a ledger holds.

    Args:
        ledger: Claims and questions.
    """
    sections = [Section("All claims", (HOW,), (_all(ledger),))]
    if ledger.questions:
        sections.append(Section("Questions", (), _questions(ledger)))
    parts = tuple(_entry(one) for one in ledger.entries)
    sections.append(Section("Claim by claim", (), parts))
    return Document(
        kicker="ledger",
        name="Claims",
        description="",
        synthetic_data=False,
        problems=(),
        verdict=counts_in_words(ledger),
        facts=(),
        sections=tuple(sections),
        source="The same at full precision: sentinel claims report --format json",
    )


def _verdict(text: str) -> Cell:
    return Cell(text, kind=_KINDS.get(text, "text"))


def _all(ledger: Ledger) -> Part:
    rows = tuple(
        (Cell(one.name), _verdict(one.verdict), Cell(one.claim.claim), Cell(one.claim.scale))
        for one in ledger.entries
    )
    table = Table(("claim", "verdict", "what was said", "measured on"), rows)
    return Part("all", "Verdicts", table, None, (), "", None)


def _questions(ledger: Ledger) -> tuple[Part, ...]:
    by_name = {one.name: one for one in ledger.entries}
    parts = []
    for question in ledger.questions:
        rows = tuple(
            (_verdict(by_name[name].verdict), Cell(by_name[name].claim.claim), Cell(name))
            for name in question.claims
        )
        table = Table(("verdict", "what was said", "claim"), rows)
        note = f"Asked in {question.source}."
        parts.append(Part(question.question, question.question, table, None, (note,), "", None))
    return tuple(parts)


def _entry(one: Entry) -> Part:
    claim = one.claim
    notes = [claim.claim, f"{claim.source}. Measured on: {claim.scale}. Verdict: {one.verdict}."]
    notes += [f"What it would need: {claim.needs}."] if claim.needs is not None else []
    notes += [claim.note] if claim.note is not None else []
    table = None
    if claim.judged is not None and claim.parts:
        pairs = zip(claim.parts, claim.judged.parts, strict=True)
        table = Table(_HEADERS, tuple(_row(part, found) for part, found in pairs))
    if claim.judged is not None and claim.judged.evidence:
        notes.append(f"From {', '.join(claim.judged.evidence)}.")
    return Part(one.name, one.name, table, None, tuple(notes), "", None)


def _row(part: ClaimPart, found: JudgedPart) -> tuple[Cell, ...]:
    return (
        Cell(part.says),
        Cell(in_words(part.statistic)),
        Cell(str(part.holds_if)),
        Cell(found_in_words(found)),
        _verdict(found.verdict),
    )
