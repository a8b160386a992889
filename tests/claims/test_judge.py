"""Verdicts follow from intervals, and a kept verdict that no longer follows is noticed."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sentinel_research.claims import judge, names, read_claim, write_judgement
from sentinel_research.claims.evidence import Evidence, keep, record_path
from sentinel_research.claims.judge import differences
from sentinel_research.claims.schema import Judgement, Region
from sentinel_research.data.tasks import task_folder
from sentinel_research.errors import DataError, UsageError
from tests.claims.conftest import METRIC, Folder, by_name


@pytest.mark.parametrize(
    ("region", "low", "high", "verdict"),
    [
        ({"at_least": 1}, 1.0, 2.0, "supported"),
        ({"at_least": 1}, 0.9, 2.0, "inconclusive"),
        ({"at_least": 1}, 0.1, 0.9, "refuted"),
        ({"at_most": 1}, 0.1, 1.0, "supported"),
        ({"at_most": 1}, 1.1, 2.0, "refuted"),
        ({"at_least": 1, "at_most": 2}, 1.2, 1.9, "supported"),
        ({"at_least": 1, "at_most": 2}, 0.5, 2.5, "inconclusive"),
        ({"at_least": 1, "at_most": 2}, 2.1, 2.5, "refuted"),
        ({"farther_than": 0.1}, 0.2, 0.5, "supported"),
        ({"farther_than": 0.1}, -0.5, -0.2, "supported"),
        ({"farther_than": 0.1}, -0.1, 0.1, "refuted"),
        ({"farther_than": 0.1}, -0.5, 0.5, "inconclusive"),
    ],
)
def test_verdict_is_where_the_whole_interval_lies(
    region: dict[str, float], low: float, high: float, verdict: str
) -> None:
    assert Region(**region).place(low, high) == verdict


@pytest.mark.parametrize(
    "region", [{}, {"at_least": 2, "at_most": 1}, {"farther_than": 1, "at_most": 1}]
)
def test_region_that_is_none_is_refused(region: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Region(**region)


def part(cell: str, **region: float) -> dict[str, Any]:
    return {
        "says": f"{cell} is low",
        "statistic": {
            "kind": "paired",
            "metric": METRIC,
            "seeds": [0, 1, 2],
            "first": {"run": "a/{seed}", "cell": cell},
        },
        "holds_if": region,
    }


@pytest.fixture
def kept(folder: Folder) -> Folder:
    for seed in range(3):
        values = {"low": 1.0 + 0.01 * seed, "high": 5.0 + 0.01 * seed, "wide": 1.0 + 3 * seed}
        folder.record(f"a/{seed}", by_name(values))
    return folder


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        (["low"], "supported"),
        (["low", "wide"], "inconclusive"),
        (["low", "wide", "absent"], "not measured"),
        (["low", "wide", "absent", "high"], "refuted"),
    ],
)
def test_claim_holds_where_all_its_parts_do(kept: Folder, cells: list[str], verdict: str) -> None:
    kept.claim("x", [part(cell, at_most=2) for cell in cells])
    found = judge(read_claim("x", kept.path), Evidence(kept.path, "toy"))
    assert found.verdict == verdict
    assert [one.verdict for one in found.parts].count("supported") == 1


def test_intervals_of_several_parts_cover_together(kept: Folder) -> None:
    kept.claim("one", [part("low", at_most=2)])
    kept.claim("two", [part("low", at_most=2), part("high", at_least=2)])
    one, two = (
        judge(read_claim(name, kept.path), Evidence(kept.path, "toy")).parts[0]
        for name in ("one", "two")
    )
    assert (one.confidence, two.confidence) == (0.95, 0.975)
    assert one.low is not None
    assert two.low is not None
    assert two.low < one.low


def test_judgement_names_the_files_that_it_read(kept: Folder) -> None:
    kept.claim("x", [part("low", at_most=2)])
    found = judge(read_claim("x", kept.path), Evidence(kept.path, "toy"))
    assert list(found.evidence) == [f"records/a/{seed}.json.xz" for seed in range(3)]


def written(folder: Folder) -> Judgement:
    found = judge(read_claim("x", folder.path), Evidence(folder.path, "toy"))
    write_judgement("x", found, folder.path)
    return found


def test_written_judgement_is_read_again_and_leaves_the_rest_as_it_was(kept: Folder) -> None:
    path = kept.claim("x", [part("low", at_most=2)])
    before = path.read_text()
    found = written(kept)
    assert path.read_text().startswith(before)
    assert read_claim("x", kept.path).judged == found
    # once more replaces it
    written(kept)
    assert path.read_text().count("judged:") == 1


def test_judgement_that_follows_has_no_difference(kept: Folder) -> None:
    kept.claim("x", [part("low", at_most=2)])
    found = written(kept)
    again = judge(read_claim("x", kept.path), Evidence(kept.path, "toy"))
    assert differences(found, again) == []


def test_other_evidence_and_other_numbers_are_named(kept: Folder) -> None:
    kept.claim("x", [part("low", at_most=2)])
    found = written(kept)
    kept.record("a/0", by_name({"low": 9.0}))
    again = judge(read_claim("x", kept.path), Evidence(kept.path, "toy"))
    lines = differences(found, again)
    assert "verdict: supported, now inconclusive" in lines
    assert any(line.startswith("part 1, value: 1.0") for line in lines)
    assert "evidence: records/a/0.json.xz is another file than the one that was judged" in lines


def test_value_edited_by_hand_is_named(kept: Folder) -> None:
    kept.claim("x", [part("low", at_most=2)])
    found = written(kept)
    edited = found.model_copy(update={"parts": (found.parts[0].model_copy(update={"value": 0.5}),)})
    assert differences(edited, found)[0].startswith("part 1, value: 0.5, now 1.0")


def test_region_changed_afterwards_changes_the_verdict(kept: Folder) -> None:
    path = kept.claim("x", [part("low", at_most=2)])
    found = written(kept)
    path.write_text(path.read_text().replace("at_most: 2", "at_most: 0.5"))
    again = judge(read_claim("x", kept.path), Evidence(kept.path, "toy"))
    assert differences(found, again)[0] == "verdict: supported, now refuted"


def test_run_folder_is_judged_in_place_of_a_kept_record(kept: Folder, tmp_path: Path) -> None:
    kept.claim("x", [part("low", at_most=2)])
    (tmp_path / "mine").mkdir()
    by_name({"low": math.pi}).write(tmp_path / "mine")
    evidence = Evidence(kept.path, "toy", {"a/0": tmp_path / "mine"})
    found = judge(read_claim("x", kept.path), evidence)
    assert found.parts[0].value == pytest.approx((math.pi + 1.01 + 1.02) / 3)
    assert "records/a/0.json.xz" not in found.evidence


def test_claim_without_parts_says_what_it_needs(folder: Folder) -> None:
    folder.claim("x", [], needs="a GPU")
    assert judge(read_claim("x", folder.path), Evidence(folder.path, "toy")).verdict == (
        "not measured"
    )
    folder.claim("y", [])
    with pytest.raises(UsageError, match="what it would take to measure it"):
        read_claim("y", folder.path)


def test_damaged_evidence_is_named(kept: Folder) -> None:
    kept.claim("x", [part("low", at_most=2)])
    record_path(kept.path, "a/0").write_bytes(b"no archive")
    with pytest.raises(DataError, match="is damaged") as caught:
        judge(read_claim("x", kept.path), Evidence(kept.path, "toy"))
    assert "0.json.xz" in str(caught.value)
    (kept.path / "speed" / "toy.json").write_text("{}")
    with pytest.raises(UsageError, match="is no speed file"):
        Evidence(kept.path, "toy").section("levels")


def test_run_that_is_not_done_is_not_kept(folder: Folder) -> None:
    record = by_name({"low": 1.0})
    record.status = "failed"
    with pytest.raises(UsageError, match="is failed, not done"):
        keep(folder.path, "a", record)


def test_run_of_which_a_check_failed_is_not_kept(folder: Folder) -> None:
    from sentinel_research.record import Check

    record = by_name({"low": 1.0})
    record.checks = [Check(name="leak", passed=False, detail="z")]
    with pytest.raises(UsageError, match="a check of the run 'toy' failed: leak"):
        keep(folder.path, "a", record)


def test_same_record_is_kept_as_the_same_bytes(folder: Folder) -> None:
    folder.record("a", by_name({"low": 1.0}))
    before = record_path(folder.path, "a").read_bytes()
    folder.record("a", by_name({"low": 1.0}))
    assert record_path(folder.path, "a").read_bytes() == before


def test_places_of_the_machine_are_not_kept(folder: Folder, tmp_path: Path) -> None:
    record = by_name({"low": 1.0})
    record.load = {"pretrained": f"{tmp_path}/mine/model"}
    assert record.cells[0].evaluation is not None
    source = task_folder() / "perplexity" / "sentinel_c4.yaml"
    record.cells[0].evaluation.lm_eval = {"source": str(source)}
    keep(folder.path, "a", record, tmp_path / "mine")
    kept = Evidence(folder.path, "toy").record("a")
    assert kept.load == {"pretrained": "model"}
    assert kept.cells[0].evaluation is not None
    assert kept.cells[0].evaluation.lm_eval == {
        "source": f"{task_folder().name}/perplexity/sentinel_c4.yaml"
    }


@pytest.mark.parametrize("name", ["../a", "a/b/c", "", "a/../../b", "/a"])
def test_record_stays_in_its_folder(folder: Folder, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a run"):
        record_path(folder.path, name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("size: 1", "unknown key `size`"),
        ("claim: again", "given twice"),
        ("judged: {verdict: true, parts: [], evidence: {}}", "judged.verdict"),
    ],
    ids=["key", "twice", "verdict"],
)
def test_wrong_claim_file_names_what_is_wrong(kept: Folder, line: str, message: str) -> None:
    path = kept.claim("x", [part("low", at_most=2)])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UsageError, match=message):
        read_claim("x", kept.path)


def test_folder_without_claims_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no claims in") as caught:
        names(tmp_path)
    assert "--folder" in str(caught.value)


def test_unknown_claim_names_the_nearest(folder: Folder) -> None:
    folder.claim("heads-matter", [], needs="time")
    assert names(folder.path) == ["heads-matter"]
    with pytest.raises(UsageError, match="no claim 'head-matter'") as caught:
        read_claim("head-matter", folder.path)
    assert "heads-matter" in str(caught.value)
