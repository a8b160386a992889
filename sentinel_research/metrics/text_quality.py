"""How varied written text is: distinct-n, seq-rep-n and self-BLEU, with standard errors.

Texts are continuations of prompts, without the prompts. Prompts are the independent items: an error
says how far a value would move with other prompts, by leaving out each in turn (`resampling`).

Distinct-n and self-BLEU are properties of a set and depend on its size. A set here always has one
continuation of every prompt; with several samples of a prompt there are as many sets, and the value
is their mean. So a model that wrote four texts for each prompt stands beside one that wrote one,
and beside the corpus, which goes on in one way only.

References:
    [1] Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models,
        who divide by tokens instead of n-grams. https://arxiv.org/abs/1510.03055
    [2] Welleck et al. 2020, Neural Text Generation with Unlikelihood Training.
        https://arxiv.org/abs/1908.04319
    [3] Zhu et al. 2018, Texygen. https://arxiv.org/abs/1802.01886
    [4] Holtzman et al. 2020, The Curious Case of Neural Text Degeneration: these numbers are to be
        near those of human text, neither above nor below. https://arxiv.org/abs/1904.09751
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sentinel_research.metrics.resampling import jackknife
from sentinel_research.metrics.self_bleu import MAX_ORDER, self_bleu, words_of

ORDERS = (1, 2, 3, 4)
"""Tokens of the n-grams that are counted."""

Tokens = Sequence[Hashable]


class Estimate(NamedTuple):
    """A metric of the continuations of several prompts."""

    value: float | None
    """None where it could not be computed."""
    stderr: float | None
    """Over prompts; None where it could not be computed."""
    num_continuations: int
    """Those that are long enough to count."""
    values: tuple[float, ...]
    """One a prompt, see `resampling.Jackknife`; empty where there is no error."""
    reason: str
    """Why there is no value, or no error; empty if both are there."""


class _Counted(NamedTuple):
    """A metric before its error."""

    value: float
    """NaN if there is none."""
    without: Float64[np.ndarray, " prompts"]
    """The same without each prompt; NaN if nothing is left."""
    num_continuations: int


def distinct_n(sequences: Sequence[Tokens], n: int) -> float | None:
    """Different n-grams over all n-grams of a set of sequences, after [1].

    Args:
        sequences: Tokens of each; an n-gram does not reach over an end.
        n: Tokens of an n-gram.

    Returns:
        In (0, 1]; None if no sequence has n tokens.

    Example:
        >>> distinct_n([[1, 2, 1, 2], [1, 2]], 2)
        0.5
    """
    found = [gram for sequence in sequences for gram in _ngrams(sequence, n)]
    return len(set(found)) / len(found) if found else None


def seq_rep_n(sequence: Tokens, n: int = 4) -> float | None:
    """One less the share of different n-grams among those of one sequence [2].

    Args:
        sequence: Its tokens.
        n: Tokens of an n-gram.

    Returns:
        In [0, 1), 0 if nothing comes twice; None if the sequence has fewer than n tokens.

    Example:
        >>> seq_rep_n([1, 2, 1, 2, 1], 2)
        0.5
    """
    found = _ngrams(sequence, n)
    return 1 - len(set(found)) / len(found) if found else None


def text_quality(
    tokens: Sequence[Sequence[Tokens]], texts: Sequence[Sequence[str]]
) -> dict[str, Estimate]:
    """Everything about the continuations of several prompts.

    Args:
        tokens: Of every prompt as many continuations, token ids of what the model wrote: without
            the prompt, without an end token and what follows it.
        texts: The same as text.

    Returns:
        `tokens` (mean length), `distinct-N` and `seq-rep-N` for N of `ORDERS`, `self-bleu` of
        continuations of different prompts [3], and `self-bleu-same-prompt` of those of one prompt.
    """
    num_samples = {len(group) for group in [*tokens, *texts]}
    if len(tokens) != len(texts) or len(num_samples) != 1:
        raise ValueError("every prompt needs as many continuations, as tokens and as texts")
    words = [[words_of(text) for text in group] for group in texts]
    found = {"tokens": _estimate(_mean([[len(one) for one in group] for group in tokens]), "")}
    for n in ORDERS:
        short = f"no continuation has {n} tokens"
        found[f"distinct-{n}"] = _estimate(_distinct(tokens, n), short)
    for n in ORDERS:
        short = f"no continuation has {n} tokens"
        repeated = [[seq_rep_n(one, n) for one in group] for group in tokens]
        found[f"seq-rep-{n}"] = _estimate(_mean(repeated), short)
    few = f"fewer than two continuations have {MAX_ORDER} words"
    found["self-bleu"] = _estimate(_across_prompts(words), f"{few} in any set")
    few = f"{few} for any prompt" if num_samples != {1} else "there is one continuation per prompt"
    found["self-bleu-same-prompt"] = _estimate(_within_prompts(words), few)
    return found


def _ngrams(sequence: Tokens, n: int) -> list[tuple[Hashable, ...]]:
    return [tuple(sequence[start : start + n]) for start in range(len(sequence) - n + 1)]


def _estimate(counted: _Counted, absent: str) -> Estimate:
    if np.isnan(counted.value):
        return Estimate(None, None, counted.num_continuations, (), absent)
    if len(counted.without) < 2 or np.isnan(counted.without).any():
        few = "too few prompts have a continuation that counts for a standard error"
        return Estimate(counted.value, None, counted.num_continuations, (), few)
    found = jackknife(counted.value, counted.without)
    values = tuple(found.values.tolist())
    return Estimate(counted.value, found.stderr, counted.num_continuations, values, "")


def _mean(groups: Sequence[Sequence[float | None]]) -> _Counted:
    """Mean over the continuations that have a value."""
    kept = [[value for value in group if value is not None] for group in groups]
    sums, counts = (
        np.array([sum(group) for group in kept]),
        np.array([len(group) for group in kept]),
    )
    return _Counted(
        _ratio(sums.sum(), counts.sum()).item(),
        _ratio(sums.sum() - sums, counts.sum() - counts),
        int(counts.sum()),
    )


def _distinct(groups: Sequence[Sequence[Tokens]], n: int) -> _Counted:
    sets = [_distinct_set(one, n) for one in zip(*groups, strict=True)]
    return _mean_of_sets(sets)


def _distinct_set(sequences: Sequence[Tokens], n: int) -> _Counted:
    """Distinct-n of one set; without a sequence, what only that one has is gone."""
    grams = [_ngrams(sequence, n) for sequence in sequences]
    owners: dict[tuple[Hashable, ...], int] = {}
    for owner, found in enumerate(grams):
        for gram in set(found):
            owners[gram] = -1 if gram in owners else owner
    of_one = np.array([owner for owner in owners.values() if owner >= 0], dtype=np.int64)
    alone = np.bincount(of_one, minlength=len(grams))
    counts = np.array([len(found) for found in grams])
    return _Counted(
        _ratio(len(owners), counts.sum()).item(),
        _ratio(len(owners) - alone, counts.sum() - counts),
        int((counts > 0).sum()),
    )


def _across_prompts(groups: Sequence[Sequence[Sequence[str]]]) -> _Counted:
    """Self-BLEU of sets with one continuation of every prompt."""
    return _mean_of_sets([_bleu_set(one) for one in zip(*groups, strict=True)])


def _bleu_set(texts: Sequence[Sequence[str]]) -> _Counted:
    """Self-BLEU of one set; without a text, it is neither scored nor a reference."""
    long = np.array([index for index, words in enumerate(texts) if len(words) >= MAX_ORDER])
    if len(long) < 2:
        return _Counted(np.nan, np.full(len(texts), np.nan), 0)
    scores, changed = self_bleu([texts[index] for index in long])
    value = float(scores.mean())
    # a text that is too short changes nothing
    without = np.full(len(texts), value)
    others = ~np.eye(len(long), dtype=bool)
    without[long] = np.where(others, changed, 0).sum(axis=0) / (len(long) - 1)
    return _Counted(value, without, len(long))


def _within_prompts(groups: Sequence[Sequence[Sequence[str]]]) -> _Counted:
    """Self-BLEU of the continuations of each prompt, mean over all."""
    found: list[list[float | None]] = []
    for group in groups:
        long = [words for words in group if len(words) >= MAX_ORDER]
        found.append(self_bleu(long).scores.tolist() if len(long) > 1 else [])
    return _mean(found)


def _mean_of_sets(sets: Sequence[_Counted]) -> _Counted:
    """Mean over the sets that have a value."""
    kept = [one for one in sets if not np.isnan(one.value)]
    if not kept:
        return sets[0]
    return _Counted(
        float(np.mean([one.value for one in kept])),
        np.mean([one.without for one in kept], axis=0),
        sum(one.num_continuations for one in kept),
    )


def _ratio(above: object, below: object) -> Float64[np.ndarray, "*any"]:
    """Quotients; NaN where there is nothing to divide by."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
