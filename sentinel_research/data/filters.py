"""Which documents of a corpus are left out, and how many each reason dropped.

Splits are read in the order test, validation, train, so that where documents resemble each other
the one that is measured stays, and training loses its copy.

References: [1] Broder 1997, On the Resemblance and Containment of Documents,
https://doi.org/10.1109/SEQUEN.1997.666900 (shingles, MinHash). [2] Brown et al. 2020, appendix C,
https://arxiv.org/abs/2005.14165 (overlap by 13-grams).
"""

import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.specs import FilterSpec

SPLITS = ("test", "validation", "train")
"""In the order in which documents are taken."""

_SHINGLE = 5
_PERMUTATIONS = 128
_WORD = re.compile(r"\w+")


class Filtered(NamedTuple):
    """Which documents are left, and why others are not."""

    kept: dict[str, list[int]]
    """By split the places of those that are left, ascending."""
    dropped: dict[str, dict[str, int]]
    """By split and reason, for every filter that was asked for."""


class _Filter(NamedTuple):
    reason: str
    """In a record."""
    drops: Callable[[str, str], bool]
    """Whether a document of a split goes; it may remember those that it kept."""


def filter_documents(splits: Mapping[str, Sequence[str]], spec: FilterSpec) -> Filtered:
    """Leave out what a spec asks for.

    Args:
        splits: Documents by split.
        spec: The filters.

    Returns:
        What is left. A document counts for the first filter that drops it. A split may end empty.

    Raises:
        UsageError: for an unknown language, or a filter whose library is not installed.

    Example:
        >>> texts = {"train": ["one", "One "], "test": ["two"]}
        >>> filter_documents(texts, FilterSpec(exact_duplicates=True)).dropped["train"]
        {'exact duplicate': 1}
    """
    filters = _filters(spec)
    kept: dict[str, list[int]] = {}
    dropped: dict[str, dict[str, int]] = {}
    for split in (name for name in SPLITS if name in splits):
        counts: Counter[str] = Counter({one.reason: 0 for one in filters})
        kept[split] = []
        for index, text in enumerate(splits[split]):
            reason = next((one.reason for one in filters if one.drops(split, text)), None)
            if reason is None:
                kept[split].append(index)
            else:
                counts[reason] += 1
        dropped[split] = dict(counts)
    return Filtered({name: kept[name] for name in splits}, {name: dropped[name] for name in splits})


def _filters(spec: FilterSpec) -> list[_Filter]:
    found = []
    if (low := spec.min_characters) is not None:
        found.append(_Filter("too short", lambda _, text: len(text) < low))
    if (high := spec.max_characters) is not None:
        found.append(_Filter("too long", lambda _, text: len(text) > high))
    if spec.languages is not None:
        found.append(_Filter("other language", _in_another_language(spec.languages)))
    if spec.exact_duplicates:
        found.append(_Filter("exact duplicate", _equals_another()))
    if spec.near_duplicates is not None:
        found.append(_Filter("near duplicate", _resembles_another(spec.near_duplicates)))
    if spec.overlap_ngram is not None:
        found.append(_Filter("overlap with evaluation", _overlaps(spec.overlap_ngram)))
    return found


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case.

    Example:
        >>> words("It's 5 o'clock")
        ['it', 's', '5', 'o', 'clock']
    """
    return _WORD.findall(text.lower())


def ngrams(text: str, size: int) -> set[str]:
    """All runs of so many words; of a shorter text the whole of it.

    Example:
        >>> sorted(ngrams("a b c", 2)), ngrams("a", 2), ngrams("", 2)
        (['a b', 'b c'], {'a'}, set())
    """
    found = words(text)
    if not found:
        return set()
    return {" ".join(found[i : i + size]) for i in range(max(1, len(found) - size + 1))}


def _in_another_language(languages: Iterable[str]) -> Callable[[str, str], bool]:
    library = _library("py3langid.langid", "`filters.languages`")
    identifier = library.LanguageIdentifier.from_model_file(library.MODEL_FILE)
    known = sorted(identifier.labels)
    wanted = set(languages)
    for language in sorted(wanted):
        if language not in known:
            raise UsageError(
                f"unknown language '{language}' in `filters.languages`",
                f"{did_you_mean(language, known)} They are ISO 639-1 codes.",
            )
    return lambda _, text: identifier.classify(text)[0] not in wanted


def _equals_another() -> Callable[[str, str], bool]:
    seen: set[bytes] = set()

    def drops(_: str, text: str) -> bool:
        digest = hashlib.sha256(" ".join(text.lower().split()).encode()).digest()
        if digest in seen:
            return True
        seen.add(digest)
        return False

    return drops


def _resembles_another(threshold: float) -> Callable[[str, str], bool]:
    datasketch = _library("datasketch", "`filters.near_duplicates`")
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
    sketches: list[Any] = []

    def drops(_: str, text: str) -> bool:
        shingles = ngrams(text, _SHINGLE)
        if not shingles:
            return False
        sketch = datasketch.MinHash(num_perm=_PERMUTATIONS)
        sketch.update_batch([shingle.encode() for shingle in shingles])
        # the index proposes by bands; the whole sketch decides
        if any(sketch.jaccard(sketches[other]) >= threshold for other in index.query(sketch)):
            return True
        index.insert(len(sketches), sketch)
        sketches.append(sketch)
        return False

    return drops


def _overlaps(size: int) -> Callable[[str, str], bool]:
    evaluated: set[str] = set()

    def drops(split: str, text: str) -> bool:
        if split != "train":
            evaluated.update(ngrams(text, size))
            return False
        return not evaluated.isdisjoint(ngrams(text, size))

    return drops


def _library(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{what} needs the library {name.partition('.')[0]}, which is not installed",
            'pip install "sentinel-research[filters]"',
        ) from error
