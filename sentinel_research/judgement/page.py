"""A comparison as a page: every difference with its interval, pair by pair."""

from collections.abc import Iterator

from sentinel_research.judgement.render import findings_table, label_of, notes
from sentinel_research.judgement.schema import Comparison
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.document import Document, Section
from sentinel_research.reporting.numbers import quantity
from sentinel_research.reporting.plots import RowOf, Spread, draw_rows
from sentinel_research.reporting.tables import Cell, Table

_NOTE = (
    "B less A in percent of A, with the interval of each comparison alone; what is better lower "
    "has its sign turned, so that to the right of 0 B is better."
)


def comparison_page(comparison: Comparison) -> Document:
    """Everything that `sentinel compare` found.

    Args:
        comparison: Of any number of pairs.
    """
    counts = {
        verdict: comparison.verdicts().count(verdict)
        for verdict in ("better", "worse", "no difference found", "not comparable")
    }
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    findings = quantity(len(comparison.findings), "comparison")
    references = list(dict.fromkeys(one.first for one in comparison.findings))
    return Document(
        kicker="comparison",
        name="Comparison of measured models",
        description="",
        synthetic_data=comparison.synthetic_data,
        problems=("Nothing could be compared.",) if comparison.is_empty else (),
        verdict=f"{findings}: {said}.",
        facts=(
            ("reference", references[0] if len(references) == 1 else "of every pair its own"),
            ("tests", str(comparison.num_tests)),
            ("correction", comparison.spec.correction),
            ("level", f"{comparison.spec.level:g}"),
            ("seed", str(comparison.spec.seed)),
        ),
        sections=(
            Section(
                "Findings", tuple(notes(comparison)), (_differences(comparison), _all(comparison))
            ),
        ),
        source="The same at full precision: sentinel compare ... --format json",
    )


def _differences(comparison: Comparison) -> Part:
    rows = list(_rows(comparison))
    title = "Differences to the reference"
    if not rows:
        absent = "Not drawn: no difference has an interval and a reference that is not 0."
        return Part("differences", title, None, None, (), absent, None)
    figure = draw_rows(
        rows,
        name="differences",
        title=title,
        across="B better than A by, %",
        synthetic_data=comparison.synthetic_data,
        reference=0.0,
    )
    return Part("differences", title, None, figure, (_NOTE,), "", rows)


def _all(comparison: Comparison) -> Part:
    found = comparison.findings
    rows = findings_table(found)
    has_one = len({one.first for one in found}) == 1
    # the head of the page names a reference that all share
    headers = ("model B",) if has_one else ("model A", "model B")
    names = [(one.second,) if has_one else (one.first, one.second) for one in found]
    cells = tuple((*map(Cell, pair), *row) for pair, row in zip(names, rows.rows, strict=True))
    table = Table((*headers, *rows.headers), cells)
    return Part(
        "findings", "Every comparison", table, None, (), " ".join(comparison.reasons()), found
    )


def _rows(comparison: Comparison) -> Iterator[RowOf]:
    for one in comparison.findings:
        found = one.evidence
        if found is None or found.first_value == 0 or one.higher_is_better is None:
            continue
        sign = 1.0 if one.higher_is_better else -1.0
        scale = 100 * sign / abs(found.first_value)
        ends = sorted((scale * found.low, scale * found.high))
        arm = f"{one.task}: {label_of(one)}"
        yield RowOf(one.second, arm, Spread(scale * found.difference, *ends))
