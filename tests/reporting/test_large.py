"""A report of ten thousand cells: small enough to send, and to open at once."""

import re
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.reporting.page import build_page
from sentinel_research.reporting.render import render_html, render_markdown
from tests.browser import Chromium
from tests.reporting.conftest import make_cell
from tests.reporting.records import toy_record

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("browser")]
MOST_BYTES = 5_000_000
MOST_ELEMENTS = 25_000
"""Of a page that opens in a second on a busy machine of two processors; 135,000 took ten."""


def _page(num_scorers: int, num_fractions: int, num_seeds: int) -> str:
    """The report of a run with one cell that failed and all of the others measured."""
    make: Any = make_cell.__wrapped__()  # type: ignore[attr-defined]
    shares = [(place + 1) / (num_fractions + 1) for place in range(num_fractions)]
    names = [f"scorer{place}" for place in range(num_scorers)]
    cells = [make(20.0), make(None, "scorer0", shares[0], num_seeds, error="<b>\x1b[2J")]
    cells += [
        make(21.0 + place + share + seed / 100, name, share, seed)
        for place, name in enumerate(names)
        for share in shares
        for seed in range(num_seeds)
    ]
    assert len(cells) > 10_000
    record = toy_record(cells, {"prune": {"scorers": names, "fractions": shares}})
    return render_html(build_page(record))


def test_ten_thousand_cells_are_a_small_page_with_its_figures(
    chromium: Chromium, tmp_path: Path
) -> None:
    # the figure with every mask among them
    html = _page(num_scorers=10, num_fractions=5, num_seeds=200)
    assert len(html.encode()) < MOST_BYTES
    path = tmp_path / "report.html"
    path.write_text(html)
    opened = chromium.open(path)
    assert opened.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS
    assert chromium.complaints == []
    assert opened.locator("[id='figure_toy_task-curve-9']").is_visible()
    text = opened.locator("main").text_content() or ""
    assert "The first 400 of 10,001 rows; all are in the JSON files." in text


def test_page_of_ten_thousand_groups_says_why_it_draws_none() -> None:
    html = _page(num_scorers=100, num_fractions=100, num_seeds=1)
    assert len(html) < MOST_BYTES
    assert len(re.findall(r"<\w", html)) < MOST_ELEMENTS
    assert "Not drawn: 10,001 values cannot be told apart in a figure" in html
    assert "all figures of trade-offs" in html
    assert "<b>" not in html


def test_names_of_ten_thousand_failed_cells_are_not_all_said() -> None:
    make: Any = make_cell.__wrapped__()  # type: ignore[attr-defined]
    cells = [make(None, "one", 0.5, seed, error="killed") for seed in range(10_001)]
    page = build_page(toy_record(cells, {"prune": {"scorers": ["one"], "fractions": [0.5]}}))
    html = render_html(page)
    assert "10,001 cells failed: one-0.5-seed0, " in html
    assert "and 9,981 more" in html
    assert len(html) < MOST_BYTES
    assert len(render_markdown(page)) < MOST_BYTES
