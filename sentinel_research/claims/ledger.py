"""All claims together: a table, every verdict with its interval, and the questions they answer."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.claims.schema import NOT_MEASURED, Claim, JudgedPart, Part, Verdict
from sentinel_research.claims.statistic import (
    AgainstRandom,
    Paired,
    ParameterGrowth,
    Power,
    Regained,
    Side,
    Statistic,
    Times,
    TradeOff,
)
from sentinel_research.claims.store import Question, names, read_claim, read_questions
from sentinel_research.reporting.numbers import quantity
from sentinel_research.reporting.render import escape_markdown

_VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "inconclusive", "not measured")


class Entry(NamedTuple):
    """A claim with its name."""

    name: str
    claim: Claim

    @property
    def verdict(self) -> Verdict:
        """What came out; `not measured` where nothing did."""
        return NOT_MEASURED if self.claim.judged is None else self.claim.judged.verdict


class Ledger(NamedTuple):
    """Everything that a report says."""

    entries: tuple[Entry, ...]
    questions: tuple[Question, ...]


def read_ledger(folder: Path) -> Ledger:
    """All claims and questions of a folder.

    Raises:
        UsageError: for a wrong file.
    """
    entries = tuple(Entry(name, read_claim(name, folder)) for name in names(folder))
    return Ledger(entries, read_questions(folder))


def listing(ledger: Ledger) -> list[str]:
    """A line for every claim: its name, its verdict, and what was said."""
    width = max((len(one.name) for one in ledger.entries), default=0)
    return [f"{one.name:<{width}}  {one.verdict:<12}  {one.claim.claim}" for one in ledger.entries]


def render_json(ledger: Ledger) -> str:
    """The ledger as strict JSON."""
    content = {
        "claims": {
            one.name: {"verdict": one.verdict, **one.claim.model_dump(mode="json")}
            for one in ledger.entries
        },
        "questions": [one.model_dump(mode="json") for one in ledger.questions],
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render_markdown(ledger: Ledger) -> str:
    """The ledger for people: counts, questions with their answers, then claim by claim."""
    lines = ["# Claims", "", counts_in_words(ledger), "", HOW, ""]
    if ledger.questions:
        lines += ["## Questions", ""]
    for question in ledger.questions:
        lines += _question(question, ledger)
    lines += ["## Claim by claim", ""]
    for one in ledger.entries:
        lines += _entry(one)
    return "\n".join(lines).rstrip("\n") + "\n"


def counts_in_words(ledger: Ledger) -> str:
    """How many claims there are, by verdict."""
    counts = [
        f"{sum(one.verdict == verdict for one in ledger.entries)} {verdict}"
        for verdict in _VERDICTS
    ]
    return f"{quantity(len(ledger.entries), 'claim')}: {', '.join(counts)}."


HOW = (
    "A claim is supported where the whole interval of every quantity lies in the region in which "
    "it holds, refuted where the whole interval of one lies outside, and inconclusive otherwise; "
    "the intervals of one claim cover all its quantities at once with 95 percent, as far as the "
    "number of repetitions allows. A verdict is about the scale that it names."
)
_HEADING = ["| what is said | quantity | holds if | found | verdict |", "|---|---|---|---|---|"]


def _question(question: Question, ledger: Ledger) -> list[str]:
    by_name = {one.name: one for one in ledger.entries}
    lines = [f"**{escape_markdown(question.question)}** ({escape_markdown(question.source)})", ""]
    for name in question.claims:
        one = by_name[name]
        lines.append(f"- {escape_markdown(one.claim.claim)} **{one.verdict}** ([{name}](#{name}))")
    return [*lines, ""]


def _entry(one: Entry) -> list[str]:
    claim = one.claim
    source, scale = escape_markdown(claim.source), escape_markdown(claim.scale)
    lines = [f"### {one.name}", "", f"> {escape_markdown(claim.claim)}", ""]
    lines += [f"{source}. **{one.verdict}**. Measured on: {scale}.", ""]
    if claim.needs is not None:
        lines += [f"What it would need: {escape_markdown(claim.needs)}.", ""]
    if claim.judged is not None and claim.parts:
        lines += [
            "| what is said | quantity | holds if | found | verdict |",
            "|---|---|---|---|---|",
        ]
        lines += [
            _row(part, found) for part, found in zip(claim.parts, claim.judged.parts, strict=True)
        ]
        lines.append("")
    if claim.note is not None:
        lines += [escape_markdown(claim.note), ""]
    if claim.judged is not None and claim.judged.evidence:
        lines += [f"From {', '.join(f'`{path}`' for path in claim.judged.evidence)}.", ""]
    return lines


def _row(part: Part, found: JudgedPart) -> str:
    cells = [part.says, in_words(part.statistic), str(part.holds_if), found_in_words(found)]
    return f"| {' | '.join(escape_markdown(one) for one in cells)} | {found.verdict} |"


def found_in_words(found: JudgedPart) -> str:
    """An estimate with its interval, or why there is none."""
    if found.value is None:
        return found.reason
    if found.confidence == 1:
        return f"{found.value:.4g}, exact"
    share = f"{100 * (found.confidence or 0.0):.3g}%"
    return f"{found.value:.4g} ({share}: {found.low:.4g} to {found.high:.4g})"


def in_words(statistic: Statistic) -> str:
    """What a quantity is."""
    words: dict[type, Any] = {
        Paired: _paired,
        Regained: lambda s: f"share of the lost log {s.metric} regained, over {_seeds(s)}",
        AgainstRandom: lambda s: f"log {s.metric} less the mean of {len(s.seeds)} random masks",
        Times: _times,
        Power: lambda s: f"power of the length in the time of {s.measured}",
        ParameterGrowth: lambda s: f"share of parameters that {s.agency.in_words()} add",
        TradeOff: lambda s: (
            f"log of times as fast, less {s.weight:g} times the difference of log "
            f"{s.quality.metric}"
        ),
    }
    return str(words[type(statistic)](statistic))


def _paired(spec: Paired) -> str:
    log = "log " if spec.scale == "log" else ""
    kind = "ratio" if spec.as_ratio else "difference"
    against = "" if spec.second is None else f" from that of {_side(spec.second)}"
    metric = spec.metric if spec.as_ratio else f"{log}{spec.metric}"
    if spec.as_ratio:
        return f"ratio of {metric}: {_side(spec.first)}{against}, over {_seeds(spec)}"
    return f"{kind} of {metric}: {_side(spec.first)}{against}, over {_seeds(spec)}"


def _side(side: Side) -> str:
    cells = side.arm or side.cell
    named = cells if isinstance(cells, str) else ", ".join(cells or ())
    if isinstance(side.relative_to, Side):
        return f"{named} in {side.run} against ({_side(side.relative_to)})"
    beside = f" against {side.relative_to}" if side.relative_to else ""
    return f"{named}{beside} in {side.run}"


def _seeds(spec: Any) -> str:
    return quantity(len(spec.seeds), "seed")


def _times(spec: Times) -> str:
    def named(names: str | tuple[str, ...]) -> str:
        return names if isinstance(names, str) else f"{', '.join(names)} (geometric mean)"

    what = "times as fast" if spec.as_speed else "ratio of times"
    over = "" if spec.over is None else f", over that of {named(spec.over)}"
    clock = "processor" if spec.clock == "cpu" else "wall"
    return f"{what}, {clock}: {spec.section} {named(spec.measured)}{over}"
