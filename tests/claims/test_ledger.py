"""The report of all claims: counts, questions with their answers, every interval."""

import json

import pytest

from sentinel_research.claims import judge, read_claim, write_judgement
from sentinel_research.claims.evidence import Evidence
from sentinel_research.claims.ledger import listing, read_ledger, render_json, render_markdown
from sentinel_research.claims.page import ledger_page
from sentinel_research.errors import UsageError
from sentinel_research.reporting.render import render_html
from tests.claims.conftest import METRIC, Folder, by_name


@pytest.fixture
def judged(folder: Folder) -> Folder:
    for seed in range(3):
        folder.record(f"a/{seed}", by_name({"low": 1.0 + 0.01 * seed}))
    statistic = {
        "kind": "paired",
        "metric": METRIC,
        "seeds": [0, 1, 2],
        "first": {"run": "a/{seed}", "cell": "low"},
    }
    part = {"says": "it is *low*", "statistic": statistic, "holds_if": {"at_most": 2}}
    folder.claim("is-low", [part], note="see <here>")
    folder.claim("is-new", [part])
    folder.claim("is-far", [], needs="a rocket")
    found = judge(read_claim("is-low", folder.path), Evidence(folder.path, "toy"))
    write_judgement("is-low", found, folder.path)
    (folder.path / "claims" / "questions.yaml").write_text(
        "questions:\n- {question: 'Is it?', source: a book, claims: [is-low, is-far]}\n"
    )
    return folder


def test_every_claim_has_a_line_with_its_verdict(judged: Folder) -> None:
    lines = listing(read_ledger(judged.path))
    assert [line.split()[0] for line in lines] == ["is-far", "is-low", "is-new"]
    assert [line.split("  ")[1].strip() for line in lines] == [
        "not measured",
        "supported",
        "not measured",
    ]


def test_report_counts_answers_and_shows_intervals(judged: Folder) -> None:
    text = render_markdown(read_ledger(judged.path))
    assert "3 claims: 1 supported, 0 refuted, 0 inconclusive, 2 not measured." in text
    assert "- is-low is so **supported** ([is-low](#is-low))" in text
    assert "1.01 (95%: 0.9852 to 1.035) | supported |" in text
    assert "What it would need: a rocket." in text
    assert "`records/a/0.json.xz`" in text


def test_report_escapes_what_people_wrote(judged: Folder) -> None:
    text = render_markdown(read_ledger(judged.path))
    assert r"it is \*low\*" in text
    assert "see &lt;here&gt;" in text


def test_report_for_programs_has_every_claim_and_question(judged: Folder) -> None:
    content = json.loads(render_json(read_ledger(judged.path)))
    assert {name: one["verdict"] for name, one in content["claims"].items()} == {
        "is-far": "not measured",
        "is-low": "supported",
        "is-new": "not measured",
    }
    assert content["questions"][0]["claims"] == ["is-low", "is-far"]


def test_question_about_an_unknown_claim_is_refused(judged: Folder) -> None:
    path = judged.path / "claims" / "questions.yaml"
    path.write_text(path.read_text().replace("is-far", "is-fur"))
    with pytest.raises(UsageError, match="no claim 'is-fur'"):
        read_ledger(judged.path)


def test_page_has_every_verdict_the_answers_and_the_intervals(judged: Folder) -> None:
    html = render_html(ledger_page(read_ledger(judged.path)))
    assert "3 claims: 1 supported, 0 refuted, 0 inconclusive, 2 not measured." in html
    assert '<td class="good">supported</td>' in html
    assert "1.01 (95%: 0.9852 to 1.035)" in html
    assert "What it would need: a rocket." in html
    assert "see &lt;here&gt;" in html
    assert "<h3>Is it?</h3>" in html
