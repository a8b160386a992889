"""Filters of documents: what goes, for which reason, and which of several stays."""

import importlib

import pytest

from sentinel_research.data.filters import filter_documents
from sentinel_research.errors import UsageError
from sentinel_research.specs import FilterSpec

ENGLISH = "The committee will meet again on Thursday to discuss the new plan for the library."
GERMAN = "Der Ausschuss trifft sich am Donnerstag wieder, um den neuen Plan zu besprechen."


def _numbered(count: int, start: int = 0) -> str:
    return " ".join(f"w{index}" for index in range(start, start + count))


def test_lengths_at_the_limit_stay() -> None:
    texts = {"train": ["a" * 4, "a" * 5, "a" * 7, "a" * 8]}
    done = filter_documents(texts, FilterSpec(min_characters=5, max_characters=7))
    assert done.kept == {"train": [1, 2]}
    assert done.dropped == {"train": {"too short": 1, "too long": 1}}


def test_other_languages_go() -> None:
    texts = {"train": [ENGLISH, GERMAN], "test": [GERMAN]}
    done = filter_documents(texts, FilterSpec(languages=("de",)))
    assert done.kept == {"train": [1], "test": [0]}
    assert done.dropped["train"] == {"other language": 1}


def test_of_equal_documents_the_measured_one_stays() -> None:
    texts = {"train": ["Same  text", "other", "other"], "validation": ["same text"], "test": ["x"]}
    done = filter_documents(texts, FilterSpec(exact_duplicates=True))
    assert done.kept == {"train": [1], "validation": [0], "test": [0]}
    assert done.dropped["train"] == {"exact duplicate": 2}
    assert done.dropped["test"] == {"exact duplicate": 0}


def test_near_duplicates_go_and_halves_stay() -> None:
    """Of 996 five-word runs 991 or 496 are shared: Jaccard similarities of 0.99 and 0.33."""
    texts = {"train": [_numbered(1000), f"{_numbered(999)} end", _numbered(1000, 500)]}
    done = filter_documents(texts, FilterSpec(near_duplicates=0.8))
    assert done.kept == {"train": [0, 2]}
    assert done.dropped == {"train": {"near duplicate": 1}}


def test_texts_without_words_resemble_nothing() -> None:
    texts = {"train": ["...", "!!!", ""]}
    assert filter_documents(texts, FilterSpec(near_duplicates=0.5)).kept == {"train": [0, 1, 2]}


def test_training_documents_with_a_run_of_an_evaluated_one_go() -> None:
    evaluated = _numbered(40)
    texts = {
        "train": [f"a b {_numbered(13, 20)} c", f"a b {_numbered(12, 20)} c", "W5, w6!"],
        "test": [evaluated],
        "validation": ["w5 w6"],
    }
    done = filter_documents(texts, FilterSpec(overlap_ngram=13))
    # a text shorter than a run is compared as a whole
    assert done.kept["train"] == [1]
    assert done.dropped["train"] == {"overlap with evaluation": 2}
    assert done.kept["test"] == [0]


def test_document_counts_for_the_first_filter_that_drops_it() -> None:
    texts = {"train": ["ab", "ab"]}
    done = filter_documents(texts, FilterSpec(min_characters=5, exact_duplicates=True))
    assert done.dropped == {"train": {"too short": 2, "exact duplicate": 0}}


def test_unknown_language_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown language 'en-US'"):
        filter_documents({"train": ["a"]}, FilterSpec(languages=("en-US",)))


def test_filter_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(UsageError, match="needs the library datasketch") as caught:
        filter_documents({"train": ["a"]}, FilterSpec(near_duplicates=0.5))
    assert "sentinel-research[filters]" in str(caught.value)
