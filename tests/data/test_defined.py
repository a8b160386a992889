"""Corpora that a recipe defines: read from files, divided, filtered, and measured by a task."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.defined import define_corpora
from sentinel_research.data.provenance import provenance_of
from sentinel_research.data.tasks import find_tasks
from sentinel_research.errors import DataError, SentinelError, UsageError
from sentinel_research.specs import CorpusSpec, FilterSpec

TEXTS = [f"document number {index} about the law" for index in range(20)]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    define_corpora({})


def _folder(path: Path, texts: list[str] = TEXTS) -> str:
    path.mkdir(parents=True)
    for index, text in enumerate(texts):
        (path / f"{index}.txt").write_text(text, encoding="utf-8")
    return str(path)


def _load(spec: CorpusSpec) -> None:
    define_corpora({"law": spec})
    load_corpus("law", "test")


def _texts(name: str, split: str) -> list[str]:
    return list(load_corpus(name, split)["text"])


def test_folder_of_texts_is_divided_the_same_way_whatever_the_names_of_its_files(
    tmp_path: Path,
) -> None:
    one, other = _folder(tmp_path / "a"), _folder(tmp_path / "b", TEXTS[::-1])
    define_corpora({"law": CorpusSpec(path=one), "again": CorpusSpec(path=other)})
    found = {split: _texts("law", split) for split in ("train", "validation", "test")}
    assert [len(texts) for texts in found.values()] == [16, 2, 2]
    assert sorted(text for texts in found.values() for text in texts) == sorted(TEXTS)
    assert all(_texts("again", split) == texts for split, texts in found.items())


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_rows_of_every_format_are_documents(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{suffix}"
    rows = [{"body": text, "id": index} for index, text in enumerate(TEXTS)]
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if suffix == "jsonl" else json.dumps(rows))
    define_corpora({"law": CorpusSpec(path=str(path), column="body", validation_share=0)})
    assert sorted(_texts("law", "train") + _texts("law", "test")) == sorted(TEXTS)


def test_names_of_files_and_folders_are_splits(tmp_path: Path) -> None:
    _folder(tmp_path / "train-00000-of-00001", ["one", "two"])
    (tmp_path / "test.txt").write_text("three")
    (tmp_path / "train-00000-of-00001" / "testimony.txt").write_text("four")
    define_corpora({"law": CorpusSpec(path=str(tmp_path))})
    assert _texts("law", "train") == ["one", "two", "four"]
    assert _texts("law", "test") == ["three"]
    with pytest.raises(UsageError, match="no split 'validation'"):
        load_corpus("law", "validation")


def test_record_names_files_and_what_was_dropped(tmp_path: Path) -> None:
    path = _folder(tmp_path / "law", [*TEXTS, TEXTS[0].upper()])
    filters = FilterSpec(exact_duplicates=True, min_characters=5)
    define_corpora({"law": CorpusSpec(path=path, filters=filters)})
    origins = [provenance_of(load_corpus("law", one)) for one in ("train", "validation", "test")]
    assert sum(origin.dropped["exact duplicate"] for origin in origins) == 1
    assert sum(origin.num_documents for origin in origins) == 20
    assert {origin.source for origin in origins} == {"files"}
    assert len(origins[0].files) == 21


def test_task_measures_the_test_split(tmp_path: Path) -> None:
    define_corpora({"law": CorpusSpec(path=_folder(tmp_path / "law"))})
    manager = find_tasks(["sentinel_law", "sentinel_law_validation"])
    task = manager.load(["sentinel_law"])["tasks"]["sentinel_law"]
    assert [document["text"] for document in task.eval_docs] == _texts("law", "test")
    define_corpora({})
    with pytest.raises(UsageError, match="unknown task 'sentinel_law'"):
        find_tasks(["sentinel_law"])


def test_filtered_corpus_keeps_names_and_counts_of_its_documents(tmp_path: Path) -> None:
    few = CorpusSpec(corpus="law", filters=FilterSpec(max_characters=len(TEXTS[0])))
    define_corpora({"law": CorpusSpec(path=_folder(tmp_path / "law")), "few": few})
    whole, rest = load_corpus("law", "train"), load_corpus("few", "train")
    assert 0 < len(rest) < len(whole)
    assert set(rest["doc_id"]) < set(whole["doc_id"])
    assert provenance_of(rest).dropped == {"too long": len(whole) - len(rest)}
    assert not provenance_of(whole).dropped


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, "there is no file or folder"),
        ({"a.csv": "x"}, {}, "no file that can be read"),
        ({"a.jsonl": '{"body": "x"}'}, {}, "has no 'text'"),
        ({"a.jsonl": "{"}, {}, "cannot be read"),
        ({"a.jsonl": '{"text": 5}'}, {}, "is int, not text"),
        ({"a.txt": b"\xff"}, {}, "cannot be read"),
        ({"train.txt": "x", "other.txt": "y"}, {}, "is none of train, validation, test"),
        ({"a.txt": "x", "b.txt": "y"}, {}, "too few to divide"),
        ({"train.txt": " ", "test.txt": " "}, {}, "are empty"),
        ({"train.txt": "x", "test.txt": "y"}, {"min_characters": 9}, "leave no document"),
    ],
    ids=["missing", "format", "column", "json", "number", "utf-8", "names", "few", "empty", "all"],
)
def test_text_that_cannot_be_used_is_refused(
    files: dict[str, str | bytes], options: dict[str, int], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "law"
    for name, content in files.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = CorpusSpec(path=str(folder), filters=FilterSpec.model_validate(options))
    with pytest.raises(SentinelError, match=message):
        _load(spec)


def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    folder = tmp_path / "law"
    folder.mkdir()
    (folder / "a.txt").symlink_to(secret)
    with pytest.raises(DataError, match="leads out of"):
        define_corpora({"law": CorpusSpec(path=str(folder))})


def test_texts_stay_in_memory_until_a_recipe_defines_corpora(tmp_path: Path) -> None:
    define_corpora({})
    before = load_corpus("synthetic", "test")
    define_corpora({})
    assert load_corpus("synthetic", "test") is before
    define_corpora({"mine": CorpusSpec(corpus="synthetic")})
    assert load_corpus("synthetic", "test") is not before


def test_name_of_a_corpus_of_the_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the name of a corpus of the project"):
        define_corpora({"ptb": CorpusSpec(path=_folder(tmp_path / "law"))})
