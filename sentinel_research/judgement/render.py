"""A comparison as JSON, as Markdown, and as text for a terminal of 80 columns."""

import textwrap
from collections.abc import Iterator
from io import StringIO
from itertools import groupby
from typing import Any, Literal

from sentinel_research.judgement.schema import Comparison, Evidence, Finding
from sentinel_research.reporting.differences import Verdict
from sentinel_research.reporting.numbers import number, p_value, quantity
from sentinel_research.reporting.render import escape_markdown, markdown_table, render_html
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.visible import visible

Format = Literal["text", "markdown", "json", "html"]
WIDTH = 80
"""Columns of text that does not go to a terminal."""
_NAME = 24
"""Letters of a name that is not broken."""
# what came out stands first: the table is wider than a window
_HEADERS: tuple[str, ...] = (
    "task",
    "metric",
    "verdict",
    "A",
    "B",
    "B less A",
    "95% interval",
    "p",
    "adjusted p",
    "detectable",
    "test",
    "units",
)
_STYLES: dict[Verdict, str] = {"better": "green", "worse": "red", "not comparable": "yellow"}
_CORRECTIONS = {"holm": "Holm", "bh": "Benjamini and Hochberg"}


def render(comparison: Comparison, form: Format) -> str:
    """A comparison as text without colour, with a final newline.

    Args:
        comparison: What was found.
        form: `json` is the schema of `Comparison`.
    """
    if form == "json":
        return comparison.model_dump_json(indent=1) + "\n"
    if form == "markdown":
        return _markdown(comparison)
    if form == "html":
        from sentinel_research.judgement.page import comparison_page

        return render_html(comparison_page(comparison))
    stream = StringIO()
    print_text(comparison, stream, width=WIDTH)
    return stream.getvalue()


def print_text(comparison: Comparison, stream: Any, width: int | None = None) -> None:
    """Print a comparison, coloured if the stream is a terminal.

    Args:
        comparison: What was found.
        stream: A file.
        width: Columns; those of the terminal by default, 80 if it is none.
    """
    from rich.console import Console

    if width is None and not stream.isatty():
        width = WIDTH
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    for (first, second), findings in by_pair(comparison):
        console.print(visible(f"A  {first} (reference)"), soft_wrap=True)
        console.print(visible(f"B  {second}"), soft_wrap=True)
        console.print(_rich_table(findings))
        for finding in findings:
            if finding.reason:
                said = f"{finding.task}/{label_of(finding)}: {finding.reason}"
                console.print(visible(said))
        console.print()
    for note in notes(comparison):
        console.print(note)


def notes(comparison: Comparison) -> list[str]:
    """How it was tested, in sentences."""
    spec = comparison.spec
    metrics = f"chosen: {', '.join(spec.metrics)}" if spec.metrics else "one metric a task"
    family = (
        f"Family: {quantity(len(comparison.findings), 'comparison')} ({metrics}), "
        f"{comparison.num_tests} of them tested, corrected by {_CORRECTIONS[spec.correction]}. "
        f"Better and worse are of B, at an adjusted two-sided p below {spec.level:g}."
    )
    terms = (
        "Intervals are bootstraps of each comparison alone. Detectable: the true difference that "
        "is found four times in five at the correction's strictest level. "
        f"{spec.num_resamples:,} resamples, seed {spec.seed}."
    )
    found = [family, terms]
    least = 2 / (1 + spec.num_resamples)
    if comparison.num_tests and least >= spec.level / comparison.num_tests:
        found.append(
            f"Random permutations give no p below {p_value(least)}, too great for "
            f"{quantity(comparison.num_tests, 'test')}: raise --num_resamples."
        )
    if comparison.other_metrics and not spec.metrics:
        rest = "; ".join(
            f"{task}: {', '.join(names)}" for task, names in comparison.other_metrics.items()
        )
        rest = textwrap.shorten(rest, 400, placeholder=" ...")
        found.append(f"Not asked for (--metrics): {rest}")
    return found


def by_pair(comparison: Comparison) -> Iterator[tuple[tuple[str, str], list[Finding]]]:
    """The findings of every pair, the reference first."""
    for names, found in groupby(comparison.findings, lambda one: (one.first, one.second)):
        yield names, list(found)


def label_of(finding: Finding) -> str:
    """The metric, with lm-eval's filter if there is one."""
    return finding.metric if finding.filter == "none" else f"{finding.metric} ({finding.filter})"


def _rich_table(findings: list[Finding]) -> Any:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    longest = max(len(name) for one in findings for name in (one.task, label_of(one)))
    # names that leave room for the numbers are kept whole, as they are to be typed again
    table.add_column("task\nmetric\n", overflow="fold", no_wrap=longest <= _NAME)
    for header in (
        "A\nB\n",
        "B less A\n95% interval\nby",
        "p\nadjusted\ntest",
        "detectable\nunits\n",
        "B is\n\n",
    ):
        table.add_column(header, overflow="fold")
    for one in findings:
        verdict = Text(one.verdict, style=_STYLES.get(one.verdict, ""))
        name = visible(f"{one.task}\n{label_of(one)}")
        if one.evidence is None:
            table.add_row(Text(name), "-", "-", "-", "-", verdict)
            continue
        table.add_row(Text(name), *map(Text, _columns(one.evidence)), verdict)
    return table


def _columns(found: Evidence) -> tuple[str, ...]:
    by = found.interval.removesuffix(" bootstrap")
    return (
        f"{number(found.first_value)}\n{number(found.second_value)}",
        f"{_signed(found.difference)}\n{_interval(found)}\n{by}",
        f"{p_value(found.p_value)}\n{p_value(found.p_adjusted)}\n{found.test}",
        f"{_detectable(found)}\n{found.num_units:,} {found.unit}",
    )


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _interval(found: Evidence) -> str:
    return f"{_signed(found.low)} to {_signed(found.high)}"


def _detectable(found: Evidence) -> str:
    return "-" if found.detectable is None else number(found.detectable)


def _markdown(comparison: Comparison) -> str:
    parts = []
    for (first, second), findings in by_pair(comparison):
        parts.append(f"**{escape_markdown(second)}** (B) against **{escape_markdown(first)}** (A)")
        parts.append(markdown_table(findings_table(findings)))
        reasons = [
            f"- {escape_markdown(f'{one.task}/{label_of(one)}: {one.reason}')}"
            for one in findings
            if one.reason
        ]
        parts += ["\n".join(reasons)] if reasons else []
    parts += map(escape_markdown, notes(comparison))
    return "\n\n".join(parts) + "\n"


def findings_table(findings: list[Finding]) -> Table:
    """A row per finding, without the names of its pair."""
    return Table(_HEADERS, tuple(map(_row, findings)))


def _row(one: Finding) -> tuple[Cell, ...]:
    kind: Any = {"better": "good", "worse": "bad"}.get(one.verdict, "text")
    names, verdict = (Cell(one.task), Cell(label_of(one))), Cell(one.verdict, kind=kind)
    found = one.evidence
    if found is None:
        return (*names, verdict, *[Cell("-", kind="number")] * 6, *[Cell("-")] * 3)
    numbers = (
        number(found.first_value),
        number(found.second_value),
        _signed(found.difference),
        _interval(found),
        p_value(found.p_value),
        p_value(found.p_adjusted),
    )
    units = f"{found.num_units:,} {found.unit}"
    if found.unit != "documents":
        units += f" ({quantity(found.num_documents, 'document')})"
    return (
        *names,
        verdict,
        *(Cell(text, kind="number") for text in numbers),
        Cell(_detectable(found), kind="number"),
        Cell(f"{found.test}, {found.interval}"),
        Cell(units),
    )
