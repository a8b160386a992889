"""The three forms of a comparison."""

import io
import json
import re
from pathlib import Path

import pytest

from sentinel_research import compare
from sentinel_research.judgement import Comparison, Evidence, Finding
from sentinel_research.judgement.render import WIDTH, Format, print_text, render
from sentinel_research.specs import JudgementSpec
from tests.judgement.folders import accuracy, write_run

EVIDENCE = Evidence(
    first_value=0.775,
    second_value=0.975,
    difference=0.2,
    low=0.05,
    high=0.35,
    interval="BCa bootstrap",
    p_value=0.0222,
    p_adjusted=0.043,
    test="exact McNemar",
    detectable=0.213,
    num_documents=40,
    num_units=20,
    unit="clusters of documents",
)


def _comparison(**finding: object) -> Comparison:
    fields = {
        "first": "runs/a:dense",
        "second": "runs/a:random-0.5",
        "task": "toy_task",
        "metric": "acc",
        "filter": "none",
        "higher_is_better": True,
        "verdict": "better",
        "evidence": EVIDENCE,
    }
    return Comparison(
        spec=JudgementSpec(),
        num_tests=2,
        other_metrics={"toy_task": ["f1"]},
        findings=[Finding.model_validate(fields | finding)],
    )


TEXT = """\
A  runs/a:dense (reference)
B  runs/a:random-0.5
task     A      B less A            p             detectable              B is
metric   B      95% interval        adjusted      units
                by                  test
toy_task 0.7750 +0.2000             0.022         0.2130                  better
acc      0.9750 +0.05000 to +0.3500 0.043         20 clusters of
                BCa                 exact McNemar documents

Family: 1 comparison (one metric a task), 2 of them tested, corrected by Holm.
Better and worse are of B, at an adjusted two-sided p below 0.05.
Intervals are bootstraps of each comparison alone. Detectable: the true
difference that is found four times in five at the correction's strictest level.
9,999 resamples, seed 0.
Not asked for (--metrics): toy_task: f1
"""
MARKDOWN = """\
**runs/a:random-0.5** (B) against **runs/a:dense** (A)

| task | metric | verdict | A | B | B less A | 95% interval | p | adjusted p | detectable | test \
| units |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |
| toy_task | acc (strict) | not comparable | - | - | - | - | - | - | - | - | - |

- toy_task/acc (strict): 128 against 64

Family: 1 comparison (chosen: acc, f1), 0 of them tested, corrected by Benjamini and Hochberg. \
Better and worse are of B, at an adjusted two-sided p below 0.01.

Intervals are bootstraps of each comparison alone. Detectable: the true difference that is found \
four times in five at the correction's strictest level. 99 resamples, seed 7.
"""


def test_text_is_this() -> None:
    lines = render(_comparison(), "text").splitlines()
    assert [line.rstrip() for line in lines] == TEXT.splitlines()


def test_markdown_is_this() -> None:
    found = _comparison(
        filter="strict",
        verdict="not comparable",
        evidence=None,
        refusal="window",
        reason="128 against 64",
    )
    spec = JudgementSpec(
        metrics=("acc", "f1"), correction="bh", level=0.01, num_resamples=99, seed=7
    )
    found = found.model_copy(update={"num_tests": 0, "spec": spec})
    assert render(found, "markdown") == MARKDOWN


def test_text_has_every_number_of_a_finding() -> None:
    text = render(_comparison(), "text")
    for part in (
        "runs/a:dense (reference)",
        "runs/a:random-0.5",
        "toy_task",
        "0.7750",
        "+0.2000",
        "+0.05000 to +0.3500",
        "0.022",
        "0.043",
        "exact McNemar",
        "0.2130",
        "20 clusters",
        "better",
        "corrected by Holm",
        "toy_task: f1",
        "seed 0",
    ):
        assert part in text


@pytest.mark.parametrize("length", [8, 60])
def test_text_fits_eighty_columns_and_keeps_whole_names(length: int) -> None:
    name = "t" * length
    text = render(_comparison(task=name), "text")
    assert max(map(len, text.splitlines())) <= WIDTH
    # folded over as many lines as it takes
    assert sum(map(len, re.findall(r"^t+\b", text, re.MULTILINE))) == length


def test_text_is_plain_where_it_is_no_terminal() -> None:
    stream = io.StringIO()
    print_text(_comparison(), stream)
    assert "\x1b" not in stream.getvalue()


def test_text_has_the_columns_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # what a terminal elsewhere has does not count
    monkeypatch.setenv("COLUMNS", "300")
    for width in (None, 60, 120):
        stream = io.StringIO()
        print_text(_comparison(), stream, width=width)
        longest = max(map(len, stream.getvalue().splitlines()))
        assert 0.9 * (width or WIDTH) < longest <= (width or WIDTH)


def test_names_and_reasons_are_no_markup() -> None:
    name = "runs/[bold]a:smile:"
    found = _comparison(
        first=name,
        verdict="not comparable",
        evidence=None,
        refusal="window",
        reason="[red]128 :cat: against 64",
    )
    text = render(found, "text")
    assert f"A  {name} (reference)\n" in text
    assert "toy_task/acc: [red]128 :cat: against 64\n" in text


def test_text_has_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    print_text(_comparison(), stream)
    assert "\x1b[32mbetter" in stream.getvalue()


def test_verdict_without_a_difference_is_said_aloud() -> None:
    text = render(_comparison(verdict="no difference found"), "text")
    assert "no difference" in " ".join(text.split())


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_refusal_has_its_reason(form: Format) -> None:
    text = render(
        _comparison(
            verdict="not comparable", evidence=None, refusal="window", reason="128 against 64"
        ),
        form,
    )
    assert "toy_task/acc: 128 against 64" in text


def test_markdown_escapes_names_and_reasons() -> None:
    text = render(
        _comparison(
            task="a|b",
            second="runs/<script>:[x](http://y)",
            verdict="not comparable",
            evidence=None,
            refusal="window",
            reason="`<b>`",
        ),
        "markdown",
    )
    assert "a\\|b" in text
    assert "<script>" not in text
    assert "<b>" not in text
    assert "[x](" not in text


def test_too_few_permutations_for_a_family_are_said() -> None:
    few = _comparison().model_copy(update={"num_tests": 250})
    assert "raise --num_resamples" in " ".join(render(few, "text").split())
    assert "raise" not in render(few.model_copy(update={"num_tests": 249}), "text")


def test_markdown_is_one_table_a_pair() -> None:
    lines = render(_comparison(), "markdown").splitlines()
    (header,) = (line for line in lines if line.startswith("| task"))
    row = lines[lines.index(header) + 2]
    assert row.count("|") == header.count("|")
    assert "20 clusters of documents (40 documents)" in row


def test_json_is_the_schema_and_reads_back(tmp_path: Path) -> None:
    names = [
        write_run(tmp_path / name, {"dense": accuracy([place, 1] * 20)})
        for place, name in enumerate("ab")
    ]
    found = compare(names, JudgementSpec(num_resamples=99))
    text = render(found, "json")
    assert json.loads(text)["schema_version"] == 1
    assert Comparison.model_validate_json(text) == found


def test_html_shows_every_difference_in_percent_of_the_reference_and_every_finding() -> None:
    worse = EVIDENCE.model_copy(update={"difference": 0.5, "low": 0.25, "high": 1.0})
    found = _comparison(task="<loss>", higher_is_better=False, verdict="worse", evidence=worse)
    html = render(found.model_copy(update={"synthetic_data": True}), "html")
    assert html.count("<!doctype html>") == 1
    assert "1 comparison: 1 worse." in html
    # 0.5 of 0.775, turned since lower is better
    said = "runs/a:random-0.5, &lt;loss&gt;: acc: -64.52 (-129.0 to -32.26)"
    assert f"<title>{said}</title>" in html
    assert '<td class="bad">worse</td>' in html
    assert '<span class="synthetic">synthetic data</span>' in html
    assert "<loss>" not in html


def test_html_names_the_reference_in_every_row_only_where_there_are_several() -> None:
    one = _comparison()
    header = '<th scope="col">model A</th>'
    assert header not in render(one, "html")
    (finding,) = one.findings
    other = finding.model_copy(update={"first": "runs/b:dense"})
    several = render(one.model_copy(update={"findings": [finding, other]}), "html")
    assert header in several
    assert ">runs/b:dense</td>" in several


def test_html_without_any_evidence_draws_nothing_and_says_why() -> None:
    found = _comparison(
        verdict="not comparable", evidence=None, refusal="window", reason="128 against 64"
    )
    html = render(found, "html")
    assert "<svg" not in html
    assert "Not drawn: no difference has an interval" in html
    assert "Nothing could be compared." in html
    assert "toy_task/acc: 128 against 64" in html
