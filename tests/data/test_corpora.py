"""The named corpora, their documents and their counts."""

import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from sentinel_research.data.catalogue import CORPORA
from sentinel_research.data.corpora import count_words, load_corpus, load_task_dataset
from sentinel_research.data.mirror import VARIABLE
from sentinel_research.data.provenance import hash_texts, provenance_of
from sentinel_research.errors import DataError, UsageError


def _repository(root: Path, repo_id: str, config: str, splits: dict[str, dict[str, list]]) -> None:
    folder = root / repo_id
    folder.mkdir(parents=True)
    files = [{"split": name, "path": f"{name}.parquet"} for name in splits]
    card = json.dumps({"configs": [{"config_name": config, "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    for name, columns in splits.items():
        datasets.Dataset.from_dict(columns).to_parquet(folder / f"{name}.parquet")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty mirror in use."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("SENTINEL_CACHE", str(tmp_path / "books"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub"


def test_wikitext_pages_are_detokenised_and_counted_before(root: Path) -> None:
    page = " = Title = \n \n It 's 1 @,@ 000 @-@ fold ( sic ) . \n"
    rows = {"page": [page]}
    _repository(root, "EleutherAI/wikitext_document_level", "wikitext-2-raw-v1", {"test": rows})
    (document,) = load_corpus("wikitext2", "test").to_list()
    assert document["text"] == " = Title =\n\nIt's 1,000-fold (sic).\n"
    assert (document["num_words"], document["num_bytes"]) == (count_words(page), len(page))
    assert document["doc_id"] == "wikitext2-test-0"


def test_wikitext_training_lines_become_blocks(root: Path) -> None:
    lines = [f" line {index} . \n" for index in range(65)]
    _repository(root, "Salesforce/wikitext", "wikitext-2-raw-v1", {"train": {"text": lines}})
    corpus = load_corpus("wikitext2", "train")
    assert len(corpus) == 2
    assert corpus["text"][1] == " line 64.\n"
    assert corpus["text"][0].startswith(" line 0.\nline 1.\n")


def test_ptb_is_one_document_of_lines(root: Path) -> None:
    rows = {"sentence": ["no it was n't", "but"]}
    _repository(root, "ptb-text-only/ptb_text_only", "penn_treebank", {"test": rows})
    assert load_corpus("ptb", "test")["text"] == ["no it was n't\nbut"]


def test_books_of_the_mirror_keep_their_titles(root: Path) -> None:
    rows = {"id": ["pg1"], "title": ["A Book"], "text": ["Once."]}
    _repository(root, "sentinel/gutenberg_books", "default", {"test": rows})
    (book,) = load_corpus("gutenberg", "test").to_list()
    assert (book["doc_id"], book["title"], book["text"]) == ("pg1", "A Book", "Once.")


def test_books_without_a_mirror_come_from_project_gutenberg(root: Path) -> None:
    with pytest.raises(DataError, match=r"gutenberg\.org/cache/epub/1342/pg1342\.txt"):
        load_corpus("gutenberg", "test")


def test_stories_of_test_are_not_those_of_train(root: Path) -> None:
    rows = {"text": [f"story {index}" for index in range(2316)]}
    _repository(root, "roneneldan/TinyStories", "default", {"train": rows})
    test, train = load_corpus("tinystories", "test"), load_corpus("tinystories", "train")
    assert (len(test), len(train)) == (300, 2016)
    assert not set(test["text"]) & set(train["text"])


@pytest.mark.parametrize(
    ("name", "repo_id", "config", "split", "sizes", "without_mirror"),
    [
        ("c4", "allenai/c4", "en", "validation", [1600, 200, 200], "cannot be streamed"),
        ("pile", "EleutherAI/pile", "all", "train", [13_000, 1000, 1000], "from a mirror only"),
    ],
    ids=["c4", "pile"],
)
def test_pieces_of_one_split_share_no_text(
    name: str,
    repo_id: str,
    config: str,
    split: str,
    sizes: list[int],
    without_mirror: str,
    root: Path,
) -> None:
    with pytest.raises(DataError, match=f"{repo_id}.* {without_mirror}"):
        load_corpus(name, "train")
    texts = [f"text {index}" for index in range(sum(sizes) + 5)]
    _repository(root, repo_id, config, {split: {"text": texts}})
    found = [set(load_corpus(name, part)["text"]) for part in ("train", "validation", "test")]
    assert [len(part) for part in found] == sizes
    assert len(set().union(*found)) == sum(sizes)


def test_c4_is_streamed_from_the_hub_no_further_than_the_last_row(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def pages() -> Iterator[dict[str, str]]:
        for index in range(10_000):
            read.append(index)
            yield {"text": f"page {index}"}

    def load(repo_id: str, config: str, *, split: str, streaming: bool) -> object:
        assert (repo_id, config, split, streaming) == ("allenai/c4", "en", "validation", True)
        return datasets.IterableDataset.from_generator(pages)

    monkeypatch.setattr(datasets, "load_dataset", load)
    test = load_corpus("c4", "test")
    assert test["text"][:2] == ["page 1800", "page 1801"]
    assert len(test) == 200
    # a stream may look one row ahead
    assert max(read) <= 2000
    assert provenance_of(test).source == "hub"
    assert provenance_of(test).split == "validation[1800:2000]"


def test_hub_with_fewer_rows_than_a_corpus_has_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a"] * 1805}).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *_a, **_k: rows)
    with pytest.raises(DataError, match=r"has 5 rows of validation\[1800:2000\], not 200"):
        load_corpus("c4", "test")


def test_text_that_is_measured_is_left_out_of_the_training_also_with_other_spaces(
    root: Path,
) -> None:
    texts = [f"text {index}" for index in range(2000)]
    texts[3], texts[4] = " text\n1700", "text 1"
    _repository(root, "allenai/c4", "en", {"validation": {"text": texts}})
    train = load_corpus("c4", "train")
    assert len(train) == 1599
    # a repetition within the training is no leak
    assert list(train["text"]).count("text 1") == 2
    assert provenance_of(train).num_documents == 1599


def test_large_wikitext_trains_on_lines_and_is_measured_on_pages(root: Path) -> None:
    config = "wikitext-103-raw-v1"
    lines = {"train": {"text": [f" line {index} . \n" for index in range(65)]}}
    _repository(root, "Salesforce/wikitext", config, lines)
    _repository(root, "EleutherAI/wikitext_document_level", config, {"test": {"page": [" a . "]}})
    assert len(load_corpus("wikitext103", "train")) == 2
    assert load_corpus("wikitext103", "test")["text"] == [" a. "]


def test_provenance_describes_the_documents_as_returned(root: Path) -> None:
    rows = {"sentence": ["one", "two"]}
    _repository(root, "ptb-text-only/ptb_text_only", "penn_treebank", {"test": rows})
    provenance = provenance_of(load_corpus("ptb", "test"))
    assert provenance.num_documents == 1
    assert provenance.text_sha256 == hash_texts(["one\ntwo"])
    assert list(provenance.files) == ["test.parquet"]


def test_split_of_empty_texts_is_an_error(root: Path) -> None:
    rows = {"test": {"text": ["", " \n"]}}
    _repository(root, "karpathy/tiny_shakespeare", "default", rows)
    with pytest.raises(DataError, match="all 2 documents are empty"):
        load_corpus("shakespeare", "test")


def test_unknown_names_are_usage_errors_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Did you mean 'shakespeare'"):
        load_corpus("shakespear", "test")
    with pytest.raises(UsageError, match="no split 'validation'"):
        load_corpus("tinystories", "validation")


def test_task_dataset_holds_the_test_split_alone_and_ignores_model_arguments(root: Path) -> None:
    rows = {"test": {"text": ["To be."]}}
    _repository(root, "karpathy/tiny_shakespeare", "default", rows)
    found = load_task_dataset(corpus="shakespeare", pretrained="x", version=1.0, dtype="float32")
    assert list(found) == ["test"]
    assert found["test"]["text"] == ["To be."]


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_corpus_says_what_it_is(name: str) -> None:
    assert CORPORA[name].summary
    assert CORPORA[name].reference
    assert "test" in CORPORA[name].split_names()


@pytest.mark.parametrize(
    ("name", "split", "num_documents", "num_words"),
    [
        ("gutenberg", "train", 17, 1_935_067),
        ("gutenberg", "validation", 3, 220_151),
        ("gutenberg", "test", 3, 209_120),
        ("wikitext2", "test", 62, 241_335),
        ("wikitext2", "validation", 60, 214_006),
        ("wikitext103", "test", 62, 241_335),
        ("wikitext103", "validation", 60, 214_006),
        ("c4", "train", 1_600, 558_625),
        ("c4", "test", 200, 62_489),
        ("pile", "train", 12_984, 1_260_207),
        ("pile", "validation", 1_000, 98_420),
        ("ptb", "test", 1, 78_669),
        ("shakespeare", "test", 1, 9_975),
        ("tinystories", "test", 300, 70_203),
    ],
)
def test_real_corpus_is_complete(
    name: str,
    split: str,
    num_documents: int,
    num_words: int,
    mirror: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, str(mirror))
    corpus = load_corpus(name, split)
    assert len(corpus) == num_documents
    assert sum(corpus["num_words"]) == num_words
    assert provenance_of(corpus).source == "mirror"


def test_real_ptb_has_its_3761_sentences(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(mirror))
    (text,) = load_corpus("ptb", "test")["text"]
    assert len(text.split("\n")) == 3761
    # the published count of tokens, with one end of sentence a line
    assert len(text.split()) + 3761 == 82_430


def test_real_books_are_in_one_split_only(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(mirror))
    ids = [
        i
        for split in ("train", "validation", "test")
        for i in load_corpus("gutenberg", split)["doc_id"]
    ]
    assert len(ids) == len(set(ids)) == 23
