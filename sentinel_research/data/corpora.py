"""The named corpora, loaded: how the rows of a split become documents.

Every loaded corpus has the columns `doc_id`, `text`, `num_words` and `num_bytes`, books also
`title`, the synthetic language also `log_prob` and `entropy` in nats. Words and bytes are counted
as in lm-eval, over the original text, even where a cleaned one is scored.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict

from sentinel_research.data import gutenberg, mirror
from sentinel_research.data.catalogue import Corpus, Source, known_corpora
from sentinel_research.data.provenance import Provenance, attach, hash_texts, provenance_of
from sentinel_research.errors import DataError, UsageError, did_you_mean

ROWS_PER_BLOCK = 64
"""Rows of line corpora that make one document under the rule `blocks`."""


FITTED_SPLIT = "train"
"""The split of a corpus that training and calibration read."""


def load_corpus(name: str, split: str) -> Dataset:
    """Load one split of a named corpus.

    Args:
        name: A key of `known_corpora()`.
        split: `train`, `validation` or `test`.

    Returns:
        Its documents, see the columns above; `provenance_of` tells where they came from, with
        `num_documents` and `text_sha256` of the documents as returned.

    Raises:
        UsageError: for an unknown corpus or split.
        DataError: if the data cannot be had, or holds no text.

    Example:
        >>> load_corpus("synthetic", "test").num_rows
        256
    """
    corpus = _lookup(name)
    if split not in corpus.split_names():
        raise UsageError(
            f"corpus '{name}' has no split '{split}'", did_you_mean(split, corpus.split_names())
        )
    return _documents(name, split, mirror.mirror_folder(), gutenberg.cache_folder())


@lru_cache(maxsize=8)
def _documents(name: str, split: str, *_places: Path | None) -> Dataset:
    """Read once per process and place: training, calibration and tasks ask for the same texts."""
    corpus = _lookup(name)
    if corpus.generate is not None:
        found = _generated(corpus.generate(split))
    else:
        found = _joined(corpus.splits[split])
    texts = found.columns["text"]
    if not any(text.strip() for text in texts):
        raise DataError(
            f"{name}, split {split}: all {len(texts)} documents are empty", "Replace the data."
        )
    documents = Dataset.from_dict(
        {
            "doc_id": [f"{name}-{split}-{index}" for index in range(len(texts))],
            "num_words": [count_words(text) for text in found.originals],
            "num_bytes": [len(text.encode()) for text in found.originals],
            # of documents of another corpus its own names and counts
            **found.columns,
        }
    )
    provenance = replace(
        found.provenance, num_documents=len(documents), text_sha256=hash_texts(texts)
    )
    return attach(documents, provenance)


def forget_documents() -> None:
    """Read everything again when it is asked for next."""
    _documents.cache_clear()


def load_task_dataset(corpus: str, split: str = "test", **_ignored: Any) -> DatasetDict:
    """One split of a corpus, for `custom_dataset` in a task's YAML.

    Args:
        corpus: A key of `known_corpora()`, from the YAML's `dataset_kwargs`.
        split: The split that the task evaluates, likewise.
        **_ignored: lm-eval passes the task's metadata and all model arguments as well.

    Returns:
        A DatasetDict with that split only; the train split is not read.
    """
    return DatasetDict({split: load_corpus(corpus, split)})


def count_words(text: str) -> int:
    """Words as lm-eval's perplexity tasks count them: pieces between runs of white space.

    Example:
        >>> count_words("two words"), count_words(" two words "), count_words("")
        (2, 4, 1)
    """
    return len(re.split(r"\s+", text))


def _lookup(name: str) -> Corpus:
    known = known_corpora()
    if name not in known:
        raise UsageError(
            f"unknown corpus '{name}'", f"{did_you_mean(name, known)} See: sentinel ls corpora"
        )
    return known[name]


class _Found(NamedTuple):
    """Documents on the way from a dataset to a corpus."""

    columns: dict[str, list[Any]]
    """`text` as it is scored, and what else the corpus has."""
    originals: list[str]
    """The texts that words and bytes are counted in."""
    provenance: Provenance
    """Of the rows that were read."""


def _generated(rows: Dataset) -> _Found:
    names = {"id": "doc_id"}
    columns = {names.get(name, name): rows[name][:] for name in rows.column_names}
    return _Found(columns, columns["text"], provenance_of(rows))


def _joined(source: Source) -> _Found:
    if source.mirror_only and not mirror.has_repository(source.repo_id):
        raise DataError(
            f"{source.repo_id} is read from a mirror only; {mirror.VARIABLE} = "
            f"{mirror.mirror_folder() or 'nothing'} does not hold it",
            "Name a mirror that does, or choose another corpus. See: sentinel ls corpora",
        )
    rows = _rows(source, source.split)
    texts = rows[source.column][:]
    if source.apart_from is not None:
        others = _rows(source, source.apart_from)
        texts = _without(texts, others[source.column][:])
    if source.documents != "rows":
        size = len(texts) if source.documents == "whole" else ROWS_PER_BLOCK
        starts = range(0, len(texts), size)
        texts = [source.separator.join(texts[start : start + size]) for start in starts]
    scored = [_detokenized(text) for text in texts] if source.detokenize else texts
    return _Found({"text": scored}, texts, provenance_of(rows))


def _rows(source: Source, split: str) -> Dataset:
    if source.streamed and not mirror.has_repository(source.repo_id):
        return mirror.stream(source.repo_id, source.config, split)
    return mirror.load(source.repo_id, source.config, split)


def _without(texts: Sequence[str], others: Sequence[str]) -> list[str]:
    """The texts that are not among others, white space apart."""
    known = {" ".join(text.split()) for text in others}
    return [text for text in texts if " ".join(text.split()) not in known]


def _detokenized(text: str) -> str:
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    return str(wikitext_detokenizer({"page": text}))
