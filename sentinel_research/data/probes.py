"""Probes of what a model does with its context: synthetic questions that any tokenizer can read.

A question shows several places that could be asked about and one cue, which says which of them is.
The right answer is drawn evenly among the choices after the rest of the context was made, so that a
model that makes nothing of the cue is right one time in four, whatever else it prefers. In the
control of a probe the cue is about nothing in the context: there every model is at chance [1].

    induction: a sequence of words, then two of them again; which word comes next? [2]
    recall: who has what, then one name again; what has it?
    copy: a sequence of words, then its first again; how does it go on?

The words are English and the questions are not: everything made here is labelled synthetic.

References:
    [1] chance in expectation over documents; a sample of n is off by some (3 / 16 n)^(1/2).
    [2] Olsson et al., In-context Learning and Induction Heads (2022).
        https://arxiv.org/abs/2209.11895
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, DatasetDict

from sentinel_research.data.provenance import Provenance, attach, hash_strings
from sentinel_research.errors import UsageError, did_you_mean

NUM_CHOICES = 4
NUM_DOCUMENTS = 400
"""Of a split."""
SPLITS = ("train", "test")
"""The n-th is drawn with seed n."""

_THINGS = (
    "apple ball bear bed bee bell bird boat book box bread bus cake car cat chair cloud coat corn "
    "cow cup dog doll door duck egg farm fish flag frog gate girl goat hat hill horse house jar "
    "key kite lake lamp leaf lion map milk moon mouse nest park pig pen pie rain ring road rock "
    "sea ship shoe sky snow sock star sun toy train tree wind"
)
_PEOPLE = "Tom Sam Ben Lily Mia Anna Kim Max Sue Jack Lucy Amy Bob Sara Mark Ella"
_WORDS, _NAMES = _THINGS.split(), _PEOPLE.split()
_LENGTH = 20
_CUE = 2
"""Words of a sequence, and of them those that come again."""
_NUM_COPIED = 6


class Probe(NamedTuple):
    """One question."""

    context: str
    """Everything before the answer, without the space between them."""
    choices: tuple[str, ...]
    """`NUM_CHOICES` of them."""
    answer: int
    """Index of the right one."""


def draw(kind: str, num_documents: int, seed: int, *, control: bool = False) -> list[Probe]:
    """Draw questions of one kind.

    Args:
        kind: `induction`, `recall` or `copy`.
        num_documents: How many.
        seed: The same gives the same questions; the control's differ in the cue alone.
        control: Whether the cue is about nothing in the context.

    Raises:
        UsageError: for an unknown kind.

    Example:
        >>> draw("recall", 1, seed=0)[0].context.split(". ")[-1]
        'Mia has a'
    """
    if kind not in _KINDS:
        raise UsageError(f"unknown probe '{kind}'", did_you_mean(kind, _KINDS))
    return [
        _KINDS[kind](np.random.default_rng([seed, number]), control)
        for number in range(num_documents)
    ]


def load_probe(probe: str, *, control: bool = False, **_ignored: Any) -> DatasetDict:
    """The splits of a probe, for `custom_dataset` in a task's YAML.

    Args:
        probe: Its kind, from the YAML's `dataset_kwargs`.
        control: Likewise, see `draw`.
        **_ignored: lm-eval passes the task's metadata and all model arguments as well.

    Returns:
        `train`, which masks can be scored on, and `test`, with the columns of `Probe`.

    Raises:
        UsageError: for an unknown probe.
    """
    return DatasetDict({split: _split(probe, control, split) for split in SPLITS})


def _split(probe: str, control: bool, split: str) -> Dataset:
    found = draw(probe, NUM_DOCUMENTS, SPLITS.index(split), control=control)
    rows = Dataset.from_list([one._asdict() for one in found])
    provenance = Provenance(
        source="synthetic",
        repo_id="sentinel_research.data.probes",
        config=f"{probe}{' control' if control else ''}",
        split=split,
        num_documents=len(rows),
        text_sha256=hash_strings(rows),
    )
    return attach(rows, provenance)


def _induction(rng: np.random.Generator, control: bool) -> Probe:
    words = _some(rng, _WORDS, _LENGTH + _CUE)
    shown, unseen = words[:_LENGTH], words[_LENGTH:]
    # places with a cue of their own before each, drawn evenly among all such
    free = _LENGTH - NUM_CHOICES * _CUE
    places = np.sort(rng.choice(free, NUM_CHOICES, replace=False))
    places += _CUE * np.arange(1, NUM_CHOICES + 1)
    answer = int(rng.integers(NUM_CHOICES))
    asked = int(places[answer])
    cue = unseen if control else shown[asked - _CUE : asked]
    choices = [shown[int(place)] for place in places]
    return _shuffled(rng, " ".join([*shown, *cue]), choices, answer)


def _recall(rng: np.random.Generator, control: bool) -> Probe:
    names = _some(rng, _NAMES, NUM_CHOICES + 1)
    things = _some(rng, _WORDS, NUM_CHOICES)
    facts = [f"{name} has a {thing}." for name, thing in zip(names[:-1], things, strict=True)]
    answer = int(rng.integers(NUM_CHOICES))
    cue = names[-1] if control else names[answer]
    return _shuffled(rng, f"{' '.join(facts)} {cue} has a", things, answer)


def _copy(rng: np.random.Generator, control: bool) -> Probe:
    first, *words = _some(rng, _WORDS, 1 + _NUM_COPIED)
    # different orders of the same words
    orders: dict[tuple[str, ...], None] = {}
    while len(orders) < NUM_CHOICES + 1:
        orders[tuple(_some(rng, words, _NUM_COPIED))] = None
    *choices, other = (" ".join(order) for order in orders)
    answer = int(rng.integers(NUM_CHOICES))
    shown = other if control else choices[answer]
    return _shuffled(rng, f"{first} {shown}. {first}", choices, answer)


_KINDS: dict[str, Callable[[np.random.Generator, bool], Probe]] = {
    "induction": _induction,
    "recall": _recall,
    "copy": _copy,
}


def _some(rng: np.random.Generator, of: list[str], number: int) -> list[str]:
    return [of[int(place)] for place in rng.choice(len(of), number, replace=False)]


def _shuffled(rng: np.random.Generator, context: str, choices: list[str], answer: int) -> Probe:
    """Choices by their places in the context would tell a place by the number of the answer."""
    order = rng.permutation(NUM_CHOICES).tolist()
    return Probe(context, tuple(choices[place] for place in order), order.index(answer))
