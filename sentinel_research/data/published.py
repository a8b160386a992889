"""Corpora by the names that published scripts give them, beside their own."""

from sentinel_research.data.catalogue import known_corpora
from sentinel_research.errors import UsageError, did_you_mean

PUBLISHED_NAMES = {
    "wikitext": "wikitext2",
    "wikitext-2": "wikitext2",
    "wikitext-103": "wikitext103",
}
"""The names that differ from the corpus' own."""


def corpus_named(dataset: str, *, needs_validation: bool = False) -> str:
    """The corpus behind a dataset's name.

    Args:
        dataset: Published, or one of `sentinel ls corpora`.
        needs_validation: Refuse a corpus that is not split in three.

    Raises:
        UsageError: for a name that is not known.

    Example:
        >>> corpus_named("wikitext-103")
        'wikitext103'
    """
    corpus = PUBLISHED_NAMES.get(dataset, dataset)
    usable = [
        name
        for name, one in known_corpora().items()
        if not needs_validation or "validation" in one.split_names()
    ]
    if corpus not in usable:
        lacking = " (or one without a validation split)" if needs_validation else ""
        known = did_you_mean(dataset, {*PUBLISHED_NAMES, *usable})
        raise UsageError(f"unknown dataset '{dataset}'{lacking}", known)
    return corpus
