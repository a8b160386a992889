"""The table of named corpora: where each split is, and what makes a document of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from datasets import Dataset

from sentinel_research.data import gutenberg, mirror, synthetic
from sentinel_research.data.provenance import Provenance, attach, hash_texts


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
    streamed: bool = False
    """Without a mirror of it, rows are streamed from the hub, which has a thousand files."""
    apart_from: str | None = None
    """Split expression whose texts are left out here, white space apart, where they come again."""


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
    generated: tuple[str, ...] = ("train", "validation", "test")
    """The splits that `generate` makes."""

    def split_names(self) -> list[str]:
        """The splits that can be loaded."""
        return list(self.splits) if self.generate is None else list(self.generated)


def _synthetic(split: str) -> Dataset:
    language = synthetic.SyntheticLanguage()
    seed = list(synthetic.SPLIT_SIZES).index(split)
    texts, log_probs = language.draw(synthetic.SPLIT_SIZES[split], seed)
    columns = {
        "text": texts,
        "log_prob": log_probs.tolist(),
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
_C4 = partial(Source, "allenai/c4", "en", streamed=True)
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
        "200 to validate, 200 to test. Streamed, where no mirror holds it.",
        "https://arxiv.org/abs/1910.10683",
        {
            "train": _C4("validation[:1600]", apart_from="validation[1600:2000]"),
            "validation": _C4("validation[1600:1800]"),
            "test": _C4("validation[1800:2000]"),
        },
    ),
    "pile": Corpus(
        "The Pile: the first 15,000 texts of the mirror's train split, up to 13,000 to train, "
        "1,000 to validate, 1,000 to test. From a mirror only, which may hold excerpts.",
        "https://arxiv.org/abs/2101.00027",
        {
            "train": _PILE("train[:13000]", apart_from="train[13000:15000]"),
            "validation": _PILE("train[13000:14000]"),
            "test": _PILE("train[14000:15000]"),
        },
    ),
}
"""All corpora by name. TinyStories' own validation split is not used, because mirrors lack it."""

DEFINED: dict[str, Corpus] = {}
"""What the recipe of this process defines beside them, see `data.defined`."""


def known_corpora() -> dict[str, Corpus]:
    """All corpora that can be loaded now, by name."""
    return {**CORPORA, **DEFINED}
