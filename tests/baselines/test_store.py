"""Kept files: written by `accept` only, and never believed when anything is odd."""

import json
from pathlib import Path

import pytest

from sentinel_research.baselines import accept_record, check_record, read_baselines, store
from sentinel_research.errors import BaselineError, UsageError
from sentinel_research.record import RunRecord
from tests.baselines.conftest import TASK


@pytest.fixture
def kept(record: RunRecord, tmp_path: Path) -> Path:
    accept_record(record, tmp_path, "first")
    return tmp_path


def edit(path: Path, *keys: str, value: object) -> None:
    content = json.loads(path.read_text())
    node = content
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path.write_text(json.dumps(content))


def test_every_variant_has_a_file_with_the_reason(kept: Path) -> None:
    names = sorted(path.name for path in (kept / "mine").iterdir())
    assert names == ["small@dense.json", "small@magnitude_l2-0.5.json"]
    dense, pruned = read_baselines(kept, "mine", "small")
    assert (dense.variant, pruned.variant) == ("dense", "magnitude_l2-0.5")
    assert dense.why == "first"
    assert dense.metrics[f"{TASK}/token_perplexity"].value == 10.0
    assert dense.identity.plan is None
    assert pruned.identity.plan is not None


def test_same_numbers_leave_the_files_as_they_are(
    record: RunRecord, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # another day, with other packages
    monkeypatch.setattr(store, "now", lambda: "2027-01-01T00:00:00+00:00")
    record.environment["packages"] = {"torch": "2.14"}
    before = {path: path.read_bytes() for path in (kept / "mine").iterdir()}
    judged = accept_record(record, kept, "again")
    assert judged.changed == []
    assert {path: path.read_bytes() for path in (kept / "mine").iterdir()} == before


def test_accepting_shows_the_difference_and_changes_only_what_moved(
    record: RunRecord, kept: Path
) -> None:
    assert record.cells[0].evaluation is not None
    record.cells[0].evaluation.measurements[0].value = 11.0
    judged = accept_record(record, kept, "tokens are counted anew")
    assert [one.kind for one in judged.findings] == ["the metric moved"]
    assert [path.name for path in judged.changed] == ["small@dense.json"]
    assert check_record(record, kept).findings == []
    assert [one.why for one in read_baselines(kept, "mine", "small")] == [
        "tokens are counted anew",
        "first",
    ]


def test_variant_that_is_measured_no_more_is_deleted_but_no_other_model(
    record: RunRecord, kept: Path
) -> None:
    other = record.model_copy(deep=True)
    other.recipe["baseline"]["model"] = "small2"
    accept_record(other, kept, "another model")
    assert [one.model for one in read_baselines(kept, "mine", "small")] == ["small", "small"]
    del record.cells[1]
    judged = accept_record(record, kept, "one pruning less")
    assert [path.name for path in judged.changed] == ["small@magnitude_l2-0.5.json"]
    assert sorted(path.name for path in (kept / "mine").iterdir()) == [
        "small2@dense.json",
        "small2@magnitude_l2-0.5.json",
        "small@dense.json",
    ]


@pytest.mark.parametrize("why", ["", "  "])
def test_reason_cannot_be_empty(record: RunRecord, tmp_path: Path, why: str) -> None:
    with pytest.raises(UsageError, match="--why is empty"):
        accept_record(record, tmp_path, why)
    assert list(tmp_path.iterdir()) == []


def test_value_edited_by_hand_is_noticed(record: RunRecord, kept: Path) -> None:
    path = kept / "mine" / "small@dense.json"
    edit(path, "metrics", f"{TASK}/acc", "value", value=0.6)
    with pytest.raises(BaselineError, match="edited by hand") as caught:
        check_record(record, kept)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("metrics", f"{TASK}/acc", "value"), "much", f"metrics.{TASK}/acc.value"),
        (("metrics", f"{TASK}/acc", "tolerance", "kind"), "vague", f"metrics.{TASK}/acc.tolerance"),
        (("tasks", TASK, "num_documents"), 0, f"tasks.{TASK}.num_documents"),
        (("size",), 1, "size"),
    ],
    ids=["type", "tolerance", "range", "unknown"],
)
def test_schema_error_names_the_key(
    record: RunRecord, kept: Path, keys: tuple[str, ...], value: object, named: str
) -> None:
    edit(kept / "mine" / "small@dense.json", *keys, value=value)
    with pytest.raises(BaselineError, match=f"`{named}"):
        check_record(record, kept)


def test_file_of_another_version_is_refused(record: RunRecord, kept: Path) -> None:
    edit(kept / "mine" / "small@dense.json", "schema_version", value=7)
    with pytest.raises(BaselineError, match="schema version 7, this package reads 1"):
        check_record(record, kept)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_damaged_file_is_refused(record: RunRecord, kept: Path, text: str) -> None:
    (kept / "mine" / "small@dense.json").write_text(text)
    with pytest.raises(BaselineError, match="small@dense"):
        check_record(record, kept)


def test_file_under_another_name_is_refused(record: RunRecord, kept: Path) -> None:
    source = kept / "mine" / "small@dense.json"
    source.rename(source.with_name("small@other.json"))
    with pytest.raises(BaselineError, match="holds the baseline mine/small@dense"):
        check_record(record, kept)


def test_damaged_file_is_never_replaced_unseen(record: RunRecord, kept: Path) -> None:
    path = kept / "mine" / "small@dense.json"
    path.write_text("{")
    with pytest.raises(BaselineError, match="cannot read the baseline"):
        accept_record(record, kept, "it was damaged")
    assert path.read_text() == "{"
    path.unlink()
    judged = accept_record(record, kept, "it was damaged")
    assert [str(one) for one in judged.findings] == [
        "small@dense: extra: there is no baseline of it"
    ]
    assert judged.changed == [path]
