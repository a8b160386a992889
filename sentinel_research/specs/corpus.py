"""Corpora that a recipe defines: text of the user's own, and what is left out of it."""

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec


class FilterSpec(Spec):
    """Which documents are left out. Every filter counts what it drops, in this order."""

    min_characters: int | None = Field(default=None, gt=0)
    """Shorter documents go."""
    max_characters: int | None = Field(default=None, gt=0)
    """Longer documents go."""
    languages: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Documents in other languages go; ISO 639-1 codes, such as en."""
    exact_duplicates: bool = False
    """Of documents that are equal but for case and white space, one stays."""
    near_duplicates: float | None = Field(default=None, gt=0, lt=1)
    """Of documents whose sets of five-word runs have at least this Jaccard similarity, as MinHash
    estimates it, one stays."""
    overlap_ngram: int | None = Field(default=None, gt=0)
    """Training documents go that share a run of this many words with a document of the validation
    or test split; 13 is usual."""

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        low, high = self.min_characters, self.max_characters
        if low is not None and high is not None and low > high:
            raise ValueError(f"`min_characters` {low} is more than `max_characters` {high}")
        return self


class CorpusSpec(Spec):
    """A corpus out of files, or out of a corpus that there is already."""

    path: str | None = None
    """A file, or a folder with files in it at any depth: .txt and .md hold one document each,
    .jsonl, .json and .parquet one in every row. Files and folders whose name begins with train,
    validation or test are that split; without such names the shares below divide all documents."""
    corpus: str | None = None
    """Instead of files a corpus of `sentinel ls corpora`, with its own splits."""
    column: str = "text"
    """What holds the text in rows."""
    validation_share: float = Field(default=0.1, ge=0, lt=1)
    """Of the documents of files without splits."""
    test_share: float = Field(default=0.1, ge=0, lt=1)
    """Likewise; at least one document. The rest is for training."""
    filters: FilterSpec = FilterSpec()
    """What is left out."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if (self.path is None) == (self.corpus is None):
            raise ValueError("give exactly one of `path` and `corpus`")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("`validation_share` and `test_share` leave nothing to train on")
        return self
