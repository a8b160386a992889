"""Self-BLEU: how much every text of a set is like the others.

The BLEU [1] of each text with all others as references [2]. Words are those of sacrebleu's default
tokenisation `13a`, n-grams have 1 to 4 words and weigh alike, precisions of 0 are smoothed by its
default `exp` [3], and the brevity penalty takes the reference nearest in length: the score of a
text is `BLEU().sentence_score(text, others)` of sacrebleu, in [0, 1]. Texygen [2] takes NLTK's
words and smoothing instead. Counts are shared by all texts here, and each score is also known
without any one of the others, which the standard error of their mean needs.

References:
    [1] Papineni et al. 2002, BLEU. https://aclanthology.org/P02-1040
    [2] Zhu et al. 2018, Texygen, section 3.2. https://arxiv.org/abs/1802.01886
    [3] Post 2018, A Call for Clarity in Reporting BLEU Scores. https://aclanthology.org/W18-6319
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

MAX_ORDER = 4
"""Words of the longest n-gram; a text of fewer has no score."""


class SelfBleu(NamedTuple):
    """Scores of a set of texts."""

    scores: Float64[np.ndarray, " texts"]
    """BLEU of each with the others, in [0, 1]; NaN for one without others."""
    without: Float64[np.ndarray, "texts texts"]
    """[i, j]: that of text i if text j were not there; NaN for i = j, or if none is left."""


def words_of(text: str) -> list[str]:
    """The words of a text as sacrebleu counts them by default.

    Example:
        >>> words_of("It's 3.5, no?")
        ["It's", '3.5', ',', 'no', '?']
    """
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return str(Tokenizer13a()(text.rstrip())).split()


def self_bleu(texts: Sequence[Sequence[str]]) -> SelfBleu:
    """BLEU of every text with all others as references.

    Args:
        texts: Words of each, `MAX_ORDER` or more.

    Raises:
        ValueError: for a text of fewer words.
    """
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    if (lengths < MAX_ORDER).any():
        raise ValueError(f"a text of {lengths.min()} words has no {MAX_ORDER}-gram")
    num = len(texts)
    if num < 2:
        return SelfBleu(np.full(num, np.nan), np.full((num, num), np.nan))
    matches, losses = _matches(texts)
    totals = lengths[:, None] - np.arange(MAX_ORDER)
    nearest, second, owner = _nearest_lengths(lengths)
    scores = _bleu(matches, totals, lengths, nearest)
    is_owner = np.arange(num) == owner[:, None]
    reference = np.where(is_owner, second[:, None], nearest[:, None])
    without = _bleu(matches[:, None] - losses, totals[:, None], lengths[:, None], reference)
    without[np.eye(num, dtype=bool)] = np.nan
    return SelfBleu(scores, without if num > 2 else np.full((num, num), np.nan))


def _matches(
    texts: Sequence[Sequence[str]],
) -> tuple[Int64[np.ndarray, "texts orders"], Int64[np.ndarray, "texts texts orders"]]:
    """N-grams of each text that the others have, by length, and how many fewer without each one.

    An n-gram matches as often as the text has it, and at most as often as that other one has it
    which has it most often.
    """
    numbers: dict[tuple[str, ...], int] = {}
    rows = [
        (numbers.setdefault(gram, len(numbers)), text, count, len(gram) - 1)
        for text, words in enumerate(texts)
        for gram, count in _ngrams(words).items()
    ]
    gram, text, count, order = np.array(rows, dtype=np.int64).T
    # the three texts that have an n-gram most often: one may be asked about, one left out
    most, owners = np.zeros((len(numbers), 3), np.int64), np.full((len(numbers), 3), -1)
    sequence = np.lexsort((-count, gram))
    starts = np.searchsorted(gram[sequence], np.arange(len(numbers)))
    place = np.arange(len(gram)) - starts[gram[sequence]]
    kept = sequence[place < 3]
    most[gram[kept], place[place < 3]] = count[kept]
    owners[gram[kept], place[place < 3]] = text[kept]
    # the first two of them that are another text
    is_first, is_second = owners[gram, 0] == text, owners[gram, 1] == text
    first = np.where(is_first, 1, 0)
    second = np.where(is_first | is_second, 2, 1)
    found = np.minimum(count, most[gram, first])
    left = np.minimum(count, most[gram, second])
    matches = np.zeros((len(texts), MAX_ORDER), np.int64)
    losses = np.zeros((len(texts), len(texts), MAX_ORDER), np.int64)
    np.add.at(matches, (text, order), found)
    has_other = owners[gram, first] >= 0
    at = (text[has_other], owners[gram, first][has_other], order[has_other])
    np.add.at(losses, at, (found - left)[has_other])
    return matches, losses


def _ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(words[start : start + size])
        for size in range(1, MAX_ORDER + 1)
        for start in range(len(words) - size + 1)
    )


def _nearest_lengths(
    lengths: Int64[np.ndarray, " texts"],
) -> tuple[Int64[np.ndarray, " texts"], Int64[np.ndarray, " texts"], Int64[np.ndarray, " texts"]]:
    """Of each text the other length that is nearest, the one after it, and whose the first is.

    Of two that are as near the shorter one is nearer.
    """
    apart = 2 * np.abs(lengths[:, None] - lengths) + (lengths > lengths[:, None])
    np.fill_diagonal(apart, np.iinfo(np.int64).max)
    by_distance = np.argsort(apart, axis=1, kind="stable")
    # of two texts the second is the text itself: nobody reads that
    return lengths[by_distance[:, 0]], lengths[by_distance[:, 1]], by_distance[:, 0]


def _bleu(
    matches: Int64[np.ndarray, "... orders"],
    totals: Int64[np.ndarray, "... orders"],
    length: Int64[np.ndarray, "..."],
    reference: Int64[np.ndarray, "..."],
) -> Float64[np.ndarray, "..."]:
    """BLEU in [0, 1] from n-grams that match, all n-grams, and the two lengths."""
    # each order without a match counts half a match, a quarter, and so on
    halvings = np.cumsum(matches == 0, axis=-1)
    precisions = np.where(matches == 0, 0.5**halvings, matches) / totals
    penalty = np.exp(np.minimum(0.0, 1 - reference / length))
    found = penalty * np.exp(np.log(precisions).mean(axis=-1))
    return np.where(matches.any(axis=-1), found, 0.0)
