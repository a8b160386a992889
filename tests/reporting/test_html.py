"""The HTML is one file that opens from disk, says problems first, and runs nothing of the data."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.record import Check, RunRecord
from sentinel_research.reporting import report, summary

Write = Callable[[RunRecord], Path]
_FIELDS = ("src", "href", "data", "poster", "srcset", "action")


class _Reader(HTMLParser):
    """Collects tags, loads and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for key, value in attrs if key.split(":")[-1] in _FIELDS]
        self.handlers += [key for key, _ in attrs if key.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def _html(folder: Path) -> str:
    return report(folder).html.read_text(encoding="utf-8")


def test_page_loads_nothing(cells: Any, make_record: Any, write: Write) -> None:
    html = _html(write(make_record(cells, train={"losses": [{"step": 1, "loss": 2.0}]})))
    reader = _Reader(html)
    outside = [address for address in reader.loads if not address.startswith("#")]
    assert outside == ["record.json", "report.json"]
    assert not re.search(r"@import|url\((?!#)", html)


def test_only_the_script_of_the_page_may_run(cells: Any, make_record: Any, write: Write) -> None:
    html = _html(write(make_record(cells)))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_markup_in_data_is_shown_and_not_run(
    cells: Any, make_cell: Any, make_record: Any, write: Write, text: str
) -> None:
    checks = [Check(name=text, passed=False, detail=text)]
    failed = make_cell(None, "magnitude", 0.25, error=text, checks=checks)
    named = make_cell(21.0, text, 0.5)
    record = make_record(
        [cells[0], failed, named],
        recipe={"description": text},
        environment={text: text},
        datasets=[{"source": text, text: text}],
        error=text,
    )
    reader = _Reader(_html(write(record)))
    assert reader.tags.count("script") == 1
    assert "img" not in reader.tags
    assert not reader.handlers
    assert reader.text.count(text) >= 8


def test_failed_check_stands_before_every_number(
    cells: Any, make_record: Any, write: Write
) -> None:
    checks = [Check(name="mask equals removal", passed=False, detail="0.3 > 1e-5")]
    html = _html(write(make_record(cells, checks=checks)))
    assert "Check failed: mask equals removal (0.3 &gt; 1e-5)" in html
    assert html.index("Check failed") < html.index("<figure") < html.index("<table")


def test_unfinished_run_says_so_before_every_number(
    cells: Any, make_record: Any, write: Write
) -> None:
    html = _html(write(make_record(cells, status="started", finished_at=None)))
    assert html.index("The run is not finished") < html.index("<figure")


def test_clean_run_has_no_problem_box(cells: Any, make_record: Any, write: Write) -> None:
    html = _html(write(make_record(cells)))
    assert "Read this first" not in html
    assert "Done: 3 of 3 cells done, nothing was checked." in html


def test_missing_cell_is_said(cells: Any, make_cell: Any, make_record: Any, write: Write) -> None:
    failed = make_cell(None, "magnitude", 0.5, error="out of memory")
    text = _Reader(_html(write(make_record([*cells[:2], failed])))).text
    assert "1 cell failed: magnitude-0.5-seed0" in text
    assert "magnitude at 0.5: failed (out of memory)" in text
    assert "not measured" in text


def test_task_without_any_measurement_has_words_and_no_figure(
    make_cell: Any, make_record: Any, write: Write
) -> None:
    html = _html(write(make_record([make_cell(error="no data")])))
    assert "No cell of toy_task was measured, so there is nothing to draw." in html
    assert "<svg" not in html


def test_recipe_without_pruning_has_a_table_and_no_figure(
    cells: Any, make_record: Any, write: Write
) -> None:
    html = _html(write(make_record(cells[:1], recipe={"prune": None})))
    assert "prunes nothing" in html
    assert "20.00 ± 0.50" in html
    assert "<svg" not in html


def test_synthetic_data_is_marked_at_the_top_and_in_the_caption(
    cells: Any, make_record: Any, write: Write
) -> None:
    html = _html(write(make_record(cells, synthetic_data=True)))
    mark = '<span class="synthetic">synthetic data</span>'
    assert html.index(mark) < html.index("</h1>")
    assert mark in html[html.index("<figcaption") :]


def test_every_measured_metric_is_in_the_page(
    make_cell: Any, make_record: Any, write: Write
) -> None:
    values = {
        "token_perplexity": 20.0,
        "bits_per_byte": 1.25,
        "floor_perplexity": 15.5,
        "floor_entropy_rate_perplexity": 15.25,
    }
    text = _Reader(_html(write(make_record([make_cell(values)])))).text
    for metric in values:
        assert metric in text


def test_row_shows_counts_and_ratio_to_dense(cells: Any, make_record: Any, write: Write) -> None:
    html = _html(write(make_record(cells)))
    row = next(line for line in html.splitlines() if ">30.00 ± 0.50<" in line)
    shown = re.findall(r">([^<]+)</td>", row)
    expected = ["magnitude", "0.5", "30.00 ± 0.50", "29.02 to 30.98", "1.500"]
    assert shown == [*expected, "1", "4 of 8 heads", "12,000 → 8,000"]


def test_count_that_the_prune_stage_left_out_is_said(
    cells: Any, make_record: Any, write: Write
) -> None:
    cells[1].prune = {"plan": {}}
    assert "not recorded" in _html(write(make_record(cells)))


def test_units_of_several_kinds_are_counted_kind_by_kind(
    cells: Any, make_record: Any, write: Write
) -> None:
    assert cells[2].prune is not None
    cells[2].prune["num_removed"] = {"head": 4, "neuron": 30, "attention": 0, "kv_head": 1}
    cells[2].prune["num_before"] = {"head": 8, "neuron": 64, "attention": 2}
    assert ">4 of 8 heads, 30 of 64 neurons, 1 kv head<" in _html(write(make_record(cells)))


@pytest.mark.parametrize("granularity", ["weight", ["weight"], "2:4"], ids=str)
def test_parameters_that_are_not_zero_are_counted_where_single_weights_went(
    cells: Any, make_record: Any, write: Write, granularity: Any
) -> None:
    assert cells[2].prune is not None
    assert cells[2].prune_spec is not None
    cells[2].prune |= {"num_parameters_after": 12000, "num_nonzero_parameters_after": 6500}
    cells[2].prune_spec["granularity"] = granularity
    assert ">12,000, 6,500 not zero<" in _html(write(make_record(cells)))


def test_hash_is_short_with_its_full_value_in_the_title(
    cells: Any, make_record: Any, write: Write
) -> None:
    digest = "0123456789abcdef" * 4
    datasets = [{"source": "hub", "repo_id": "a/b", "text_sha256": digest, "config": None}]
    html = _html(write(make_record(cells, datasets=datasets)))
    assert f'title="{digest}">0123456789ab…</td>' in html


def test_page_tells_how_to_run_it_again(cells: Any, make_record: Any, write: Write) -> None:
    html = _html(write(make_record(cells)))
    assert "sentinel run recipe.yaml" in html
    assert "<code>0123456789abcdef</code>" in html
    assert "pretrained: org/model" in html


def test_control_characters_are_shown_as_signs_in_html_markdown_and_terminal(
    cells: Any, make_cell: Any, make_record: Any, write: Write
) -> None:
    text = "before\x1b[2J\x9b1m\x07after\u202e"
    failed = make_cell(None, "magnitude", 0.5, error=text)
    record = make_record([*cells[:2], failed], recipe={"description": text}, error=text)
    files = report(write(record))
    pages = [files.html.read_text(), files.markdown.read_text(), summary(record)]
    for page in pages:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
        assert "␛" in page
    assert "&lt;U+202E&gt;" in pages[0]
