"""The named corpora: where each split is, and how its rows become documents.

Every loaded corpus has the columns `doc_id`, `text`, `num_words` and `num_bytes`, books also
`title`, the synthetic language also `log_prob` and `entropy` in nats. Words and bytes are counted
as in lm-eval, over the original text, even where a cleaned one is scored.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from datasets import Dataset, DatasetDict

from sentinel_research.data import gutenberg, mirror, synthetic
from sentinel_research.data.provenance import Provenance, attach, hash_texts, provenance_of
from sentinel_research.errors import DataError, UsageError, did_you_mean

ROWS_PER_BLOCK = 64
"""Rows of line corpora that make one document under the rule `blocks`."""


@dataclass(frozen=True)
class Source:
    """One split of a corpus as rows of a dataset."""

    repo_id: str
    """Hub repository."""
    config: str | None
    """Configuration of the repository."""
    split: str
    """Split expression of datasets, for example `train[:300]`."""
    column: str = "text"
    """The column that holds the text."""
    documents: Literal["rows", "blocks", "whole"] = "rows"
    """`rows`: a row is a document; `blocks`: 64 rows are; `whole`: the split is one document."""
    separator: str = ""
    """What joins rows into a document."""
    detokenize: bool = False
    """Undo WikiText's tokenisation with lm-eval's own rules; words are counted before."""
    mirror_only: bool = False
    """The hub has it not at all, or only with hundreds of gigabytes around it."""


@dataclass(frozen=True)
class Corpus:
    """A named corpus."""

    summary: str
    """One line for people."""
    reference: str
    """Where it comes from."""
    splits: Mapping[str, Source] = field(default_factory=dict)
    """`train`, `validation` and `test`, as far as they exist; empty for `generate`."""
    generate: Callable[[str], Dataset] | None = None
    """Makes a split by name, for corpora that are not rows of one dataset."""

    def split_names(self) -> list[str]:
        """The splits that can be loaded."""
        return list(self.splits) if self.generate is None else ["train", "validation", "test"]


def _synthetic(split: str) -> Dataset:
    language = synthetic.SyntheticLanguage()
    texts = language.sample(synthetic.SPLIT_SIZES[split], list(synthetic.SPLIT_SIZES).index(split))
    columns = {
        "text": texts,
        "log_prob": language.log_probs(texts).tolist(),
        "entropy": [language.entropy_per_word * language.document_length] * len(texts),
    }
    provenance = Provenance(
        source="synthetic",
        repo_id="sentinel_research.data.synthetic",
        config=f"seed={language.seed}",
        split=split,
        num_documents=len(texts),
        text_sha256=hash_texts(texts),
    )
    return attach(Dataset.from_dict(columns), provenance)


def _gutenberg(split: str) -> Dataset:
    if mirror.has_repository("sentinel/gutenberg_books"):
        return mirror.load("sentinel/gutenberg_books", "default", split)
    return gutenberg.load_books(split)


def _wikitext(config: str) -> dict[str, Source]:
    """Lines to train on, whole pages to measure; the two corpora share the latter."""
    pages = partial(
        Source, "EleutherAI/wikitext_document_level", config, column="page", detokenize=True
    )
    train = Source("Salesforce/wikitext", config, "train", documents="blocks", detokenize=True)
    return {"train": train, "validation": pages("validation"), "test": pages("test")}


_PTB = partial(
    Source,
    "ptb-text-only/ptb_text_only",
    "penn_treebank",
    column="sentence",
    documents="whole",
    separator="\n",
)
_SHAKESPEARE = partial(Source, "karpathy/tiny_shakespeare", "default")
_STORIES = partial(Source, "roneneldan/TinyStories", "default")
_C4 = partial(Source, "allenai/c4", "en", mirror_only=True)
_PILE = partial(Source, "EleutherAI/pile", "all", mirror_only=True)

CORPORA: dict[str, Corpus] = {
    "synthetic": Corpus(
        "Synthetic, not natural language: 127-word documents of a source with a known entropy.",
        "sentinel_research/data/synthetic.py",
        generate=_synthetic,
    ),
    "gutenberg": Corpus(
        "Complete Project Gutenberg books, split by book: 17 train, 3 validation, 3 test.",
        "https://www.gutenberg.org",
        generate=_gutenberg,
    ),
    "wikitext2": Corpus(
        "WikiText-2 raw, one Wikipedia page a document, detokenised; train: blocks of 64 lines.",
        "https://arxiv.org/abs/1609.07843",
        _wikitext("wikitext-2-raw-v1"),
    ),
    "wikitext103": Corpus(
        "WikiText-103 raw: the pages of wikitext2 to measure, a train split 50 times as large.",
        "https://arxiv.org/abs/1609.07843",
        _wikitext("wikitext-103-raw-v1"),
    ),
    "ptb": Corpus(
        "Penn Treebank, Mikolov's version; a split is one document, its sentences one a line.",
        "https://www.isca-archive.org/interspeech_2010/mikolov10_interspeech.html",
        {name: _PTB(name) for name in ("train", "validation", "test")},
    ),
    "shakespeare": Corpus(
        "Tiny Shakespeare; a split is one document.",
        "https://karpathy.github.io/2015/05/21/rnn-effectiveness/",
        {name: _SHAKESPEARE(name) for name in ("train", "validation", "test")},
    ),
    "tinystories": Corpus(
        "TinyStories; test is stories 2016 to 2315 of the TRAIN split, train those before: public "
        "models trained on TinyStories have seen the test stories.",
        "https://arxiv.org/abs/2305.07759",
        {"train": _STORIES("train[:2016]"), "test": _STORIES("train[2016:2316]")},
    ),
    "c4": Corpus(
        "C4, English: the first 2,000 web pages of its validation split, 1,600 of them to train, "
        "200 to validate, 200 to test. From a mirror only.",
        "https://arxiv.org/abs/1910.10683",
        {
            "train": _C4("validation[:1600]"),
            "validation": _C4("validation[1600:1800]"),
            "test": _C4("validation[1800:2000]"),
        },
    ),
    "pile": Corpus(
        "The Pile: the first 15,000 texts of the mirror's train split, 13,000 of them to train, "
        "1,000 to validate, 1,000 to test. From a mirror only, which may hold excerpts.",
        "https://arxiv.org/abs/2101.00027",
        {
            "train": _PILE("train[:13000]"),
            "validation": _PILE("train[13000:14000]"),
            "test": _PILE("train[14000:15000]"),
        },
    ),
}
"""All corpora by name. TinyStories' own validation split is not used, because mirrors lack it."""


FITTED_SPLIT = "train"
"""The split of a corpus that training and calibration read."""


def load_corpus(name: str, split: str) -> Dataset:
    """Load one split of a named corpus.

    Args:
        name: A key of `CORPORA`.
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
            **found.columns,
            "num_words": [count_words(text) for text in found.originals],
            "num_bytes": [len(text.encode()) for text in found.originals],
        }
    )
    provenance = replace(
        found.provenance, num_documents=len(documents), text_sha256=hash_texts(texts)
    )
    return attach(documents, provenance)


def load_task_dataset(corpus: str, split: str = "test", **_ignored: Any) -> DatasetDict:
    """One split of a corpus, for `custom_dataset` in a task's YAML.

    Args:
        corpus: A key of `CORPORA`, from the YAML's `dataset_kwargs`.
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
    if name not in CORPORA:
        raise UsageError(
            f"unknown corpus '{name}'", f"{did_you_mean(name, CORPORA)} See: sentinel ls corpora"
        )
    return CORPORA[name]


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
    columns = {names.get(name, name): list(rows[name]) for name in rows.column_names}
    return _Found(columns, columns["text"], provenance_of(rows))


def _joined(source: Source) -> _Found:
    if source.mirror_only and not mirror.has_repository(source.repo_id):
        raise DataError(
            f"{source.repo_id} is read from a mirror only; {mirror.VARIABLE} = "
            f"{mirror.mirror_folder() or 'nothing'} does not hold it",
            "Name a mirror that does, or choose another corpus. See: sentinel ls corpora",
        )
    rows = mirror.load(source.repo_id, source.config, source.split)
    texts = list(rows[source.column])
    if source.documents != "rows":
        size = len(texts) if source.documents == "whole" else ROWS_PER_BLOCK
        starts = range(0, len(texts), size)
        texts = [source.separator.join(texts[start : start + size]) for start in starts]
    scored = [_detokenized(text) for text in texts] if source.detokenize else texts
    return _Found({"text": scored}, texts, provenance_of(rows))


def _detokenized(text: str) -> str:
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    return str(wikitext_detokenizer({"page": text}))
