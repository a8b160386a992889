"""The loader: mirror first, then hub, and errors that say what to do."""

import hashlib
import os
from pathlib import Path

import datasets
import pytest

from sentinel_research.data.mirror import VARIABLE, has_repository, load, mirror_folder, use_mirror
from sentinel_research.data.provenance import attach, hash_texts, provenance_of
from sentinel_research.errors import DataError, UsageError

CARD = """---
configs:
- config_name: plain
  data_files:
  - {split: train, path: plain/train.parquet}
  - {split: test, path: plain/test.parquet}
- config_name: other
  data_files:
  - {split: test, path: plain/test.parquet}
---
"""


@pytest.fixture
def tiny_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of one repository, and no other in the environment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    root = tmp_path / "hub"
    folder = root / "org" / "set"
    (folder / "plain").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    for split, texts in {"train": ["a", "b", "c"], "test": ["x", ""]}.items():
        rows = datasets.Dataset.from_dict({"text": texts, "label": list(range(len(texts)))})
        rows.to_parquet(folder / "plain" / f"{split}.parquet")
    return root


def test_rows_come_from_the_mirror_with_checksums(tiny_mirror: Path) -> None:
    rows = load("org/set", "plain", "test", data=tiny_mirror)
    assert rows["text"] == ["x", ""]
    provenance = provenance_of(rows)
    content = (tiny_mirror / "org/set/plain/test.parquet").read_bytes()
    assert provenance.files == {"plain/test.parquet": hashlib.sha256(content).hexdigest()}
    assert (provenance.source, provenance.num_documents) == ("mirror", 2)
    assert (provenance.repo_id, provenance.config, provenance.split) == ("org/set", "plain", "test")
    assert provenance.text_sha256 == hash_texts(["x", ""])


def test_split_expressions_are_understood(tiny_mirror: Path) -> None:
    rows = load("org/set", "plain", "train[1:]+test", data=tiny_mirror)
    assert rows["text"] == ["b", "c", "x", ""]
    assert sorted(provenance_of(rows).files) == ["plain/test.parquet", "plain/train.parquet"]


def test_variable_names_the_mirror_and_the_argument_wins(
    tiny_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mirror_folder() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert not has_repository("org/set")
    assert has_repository("org/set", data=tiny_mirror)
    assert use_mirror(tiny_mirror) == tiny_mirror
    assert os.environ[VARIABLE] == str(tiny_mirror)
    assert len(load("org/set", "plain", "train")) == 3


@pytest.mark.parametrize(
    ("repo_id", "config", "split", "reason"),
    [
        ("org/absent", "plain", "test", "no folder absent"),
        ("org/set", "fancy", "test", "config 'fancy' is missing, it has: plain, other"),
        ("org/set", "other", "train", "split 'train' of 'other' is missing, it has: test"),
    ],
    ids=["repository", "config", "split"],
)
def test_what_neither_place_has_is_an_error_that_says_what_to_type(
    tiny_mirror: Path, repo_id: str, config: str, split: str, reason: str
) -> None:
    with pytest.raises(DataError) as error:
        load(repo_id, config, split, data=tiny_mirror)
    assert f"the mirror {tiny_mirror}: " in error.value.message
    assert reason in error.value.message
    assert "the hub (offline: HF_HUB_OFFLINE is set): " in error.value.message
    command = f"hf download --repo-type dataset {repo_id} --local-dir {tiny_mirror}/{repo_id}"
    assert command in error.value.hint


def test_without_a_mirror_the_error_names_the_variable(tiny_mirror: Path) -> None:
    with pytest.raises(DataError, match="no mirror is set") as error:
        load("org/set", "plain", "test")
    assert VARIABLE in error.value.hint


def test_mirror_that_is_not_a_folder_is_a_usage_error(
    tiny_mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        load("org/set", "plain", "test", data=tiny_mirror / "absent")
    monkeypatch.setenv(VARIABLE, "absent")
    with pytest.raises(UsageError, match=f"{VARIABLE} names 'absent'"):
        load("org/set", "plain", "test")


@pytest.mark.parametrize("repo_id", ["../set", "org/../../etc", "/etc", "org/set/more", ""])
def test_names_cannot_leave_the_mirror(tiny_mirror: Path, repo_id: str) -> None:
    with pytest.raises(UsageError, match="not a dataset name"):
        load(repo_id, "plain", "test", data=tiny_mirror)


def test_empty_split_is_an_error(tiny_mirror: Path) -> None:
    with pytest.raises(DataError, match="corresponds to no data"):
        load("org/set", "plain", "test[2:]", data=tiny_mirror)
    empty = datasets.Dataset.from_dict({"text": [], "label": []})
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.Value("int64")}
    )
    empty.cast(features).to_parquet(tiny_mirror / "org/set/plain/test.parquet")
    with pytest.raises(DataError, match="corresponds to no data"):
        load("org/set", "plain", "test", data=tiny_mirror)


def test_replaced_file_is_read_again(tiny_mirror: Path) -> None:
    # datasets' own cache would give back the old rows
    assert load("org/set", "plain", "test", data=tiny_mirror)["text"] == ["x", ""]
    rows = datasets.Dataset.from_dict({"text": ["new"], "label": [0]})
    rows.to_parquet(tiny_mirror / "org/set/plain/test.parquet")
    assert load("org/set", "plain", "test", data=tiny_mirror)["text"] == ["new"]


def test_damaged_file_is_an_error_and_not_taken_from_the_hub(tiny_mirror: Path) -> None:
    (tiny_mirror / "org/set/plain/test.parquet").write_bytes(b"PAR1 not parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load("org/set", "plain", "test", data=tiny_mirror)


def test_folder_of_the_same_name_is_never_taken_for_the_hub(
    tiny_mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_mirror)
    with pytest.raises(UsageError, match="hides the dataset on the hub"):
        load("org/set", "plain", "test")
    assert len(load("org/set", "plain", "test", data=".")) == 2


def test_provenance_survives_selection_and_saving(tiny_mirror: Path, tmp_path: Path) -> None:
    rows = load("org/set", "plain", "train", data=tiny_mirror)
    rows.select([0]).save_to_disk(tmp_path / "saved")
    assert provenance_of(datasets.load_from_disk(tmp_path / "saved")) == provenance_of(rows)


def test_dataset_from_elsewhere_has_no_provenance() -> None:
    with pytest.raises(DataError, match="without provenance"):
        provenance_of(datasets.Dataset.from_dict({"text": ["a"]}))


def test_attached_provenance_is_read_back(tiny_mirror: Path) -> None:
    rows = load("org/set", "plain", "train", data=tiny_mirror)
    other = attach(datasets.Dataset.from_dict({"text": ["a"]}), provenance_of(rows))
    assert provenance_of(other) == provenance_of(rows)
