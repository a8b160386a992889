"""The unifilar random source behind the synthetic language, over word numbers.

A source is unifilar when its next state is a function of the state and the word [1]. A document's
probability is then a product of conditionals, and its entropy a sum over positions.

A document is one setting word, then facts (name value), then sentences up to its fixed length:
a description `article adjective* noun verb place` or a recall `name value`. Noun and verb agree
with the article's class, the place belongs to the setting word, adjective and verb follow the word
before, and a recalled value is the one stated for that name.

Glossary: B documents in a batch, V words of the vocabulary.

References:
    [1] Shannon, A Mathematical Theory of Communication (1948), sections 2 and 7.
        https://doi.org/10.1002/j.1538-7305.1948.tb01338.x
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from sentinel_research.errors import UsageError

# phases: what has to come next; MODIFIED stands after an article or an adjective
SETTING, FACT_NAME, FACT_VALUE, START, MODIFIED, VERB, PLACE, RECALL = range(8)

MAX_WORDS = 4900
"""Spellings of two syllables, of a consonant and a vowel each."""


class Sizes(NamedTuple):
    """How many words each class has, and how often each choice is taken."""

    settings: int = 4
    """Setting words; each has its own places."""
    names: int = 8
    """Names that a fact can be about."""
    values: int = 6
    """Values that one name can have; each name has its own."""
    facts: int = 4
    """Facts of one document, about different names."""
    classes: int = 3
    """Agreement classes; each has one article and its own nouns and verbs."""
    adjectives: int = 8
    """Adjectives, shared by all classes."""
    nouns: int = 6
    """Nouns of one class."""
    verbs: int = 6
    """Verbs of one class."""
    places: int = 6
    """Places of one setting."""
    recall_fraction: float = 0.7
    """Probability that a sentence is a recall, in [0, 1]."""
    noun_fraction: float = 0.5
    """Probability that a noun, not one more adjective, follows, in (0, 1]."""


@dataclass
class State:
    """What the source remembers of B documents."""

    phase: Int64[np.ndarray, " batch"]
    """What comes next, for example `START`."""
    row: Int64[np.ndarray, " batch"]
    """The row of the probability table that the next word is drawn from."""
    setting: Int64[np.ndarray, " batch"]
    """The document's setting."""
    agreement: Int64[np.ndarray, " batch"]
    """The class of the latest article."""
    fact: Int64[np.ndarray, " batch"]
    """The fact being stated or recalled."""
    names: Int64[np.ndarray, "batch facts"]
    """The name word of each stated fact."""
    values: Int64[np.ndarray, "batch facts"]
    """The value word of each stated fact."""


class Source:
    """Draws words and knows their probabilities.

    Args:
        sizes: Class sizes and choice probabilities.
        rng: Decides which words of a class are frequent.

    Attributes:
        first: The number of the first word of each class; the classes follow one another.
        num_words: Size of the vocabulary.

    Raises:
        UsageError: if a size or a probability is out of range.
    """

    def __init__(self, sizes: Sizes, rng: np.random.Generator) -> None:
        _check(sizes)
        self.sizes = sizes
        shape = {
            "setting": (sizes.settings, 1),
            "name": (sizes.names, 1),
            "value": (sizes.names, sizes.values),
            "article": (sizes.classes, 1),
            "adjective": (sizes.adjectives, 1),
            "noun": (sizes.classes, sizes.nouns),
            "verb": (sizes.classes, sizes.verbs),
            "place": (sizes.settings, sizes.places),
        }
        self.first: dict[str, int] = {}
        groups: list[int] = []
        for kind, (num_groups, group_size) in shape.items():
            self.first[kind] = len(groups)
            groups += [group for group in range(num_groups) for _ in range(group_size)]
        self.num_words = len(groups)
        if self.num_words > MAX_WORDS:
            raise UsageError(f"{self.num_words} words", f"At most {MAX_WORDS} can be spelled.")
        self._group = np.array(groups)
        self._tabulate(rng)

    def _tabulate(self, rng: np.random.Generator) -> None:
        """Store the probabilities that hang on the last word, the class and the setting only."""
        sizes, first, noun = self.sizes, self.first, self.sizes.noun_fraction
        rows: list[np.ndarray] = []

        def row(*parts: tuple[int, np.ndarray]) -> int:
            rows.append(np.zeros(self.num_words))
            for start, probabilities in parts:
                rows[-1][start : start + len(probabilities)] = probabilities
            return len(rows) - 1

        def frequencies(size: int) -> np.ndarray:
            return rng.permutation(_zipf(size))

        # `probabilities` adds names and recalled values
        self._row_empty = row()
        self._row_setting = row((first["setting"], _uniform(sizes.settings)))
        values = _uniform(sizes.values)
        self._row_value = np.array(
            [row((first["value"] + name * sizes.values, values)) for name in range(sizes.names)]
        )
        articles = (1 - sizes.recall_fraction) * _uniform(sizes.classes)
        self._row_start = row((first["article"], articles))
        nouns = [
            (first["noun"] + group * sizes.nouns, noun * frequencies(sizes.nouns))
            for group in range(sizes.classes)
        ]
        # after an article every adjective is as likely, after an adjective some are more so
        adjectives = [_uniform(sizes.adjectives)]
        adjectives += [frequencies(sizes.adjectives) for _ in range(sizes.adjectives)]
        self._row_modified = np.array(
            [[row(n, (first["adjective"], (1 - noun) * a)) for n in nouns] for a in adjectives]
        )
        noun_groups = self._group[first["noun"] : first["verb"]]
        self._row_verb = np.array(
            [row((first["verb"] + g * sizes.verbs, frequencies(sizes.verbs))) for g in noun_groups]
        )
        starts = range(first["place"], self.num_words, sizes.places)
        self._row_place = np.array([row((start, frequencies(sizes.places))) for start in starts])
        self._table = np.stack(rows)

    def start(self, num_documents: int) -> State:
        """The state of `num_documents` documents before their first word."""
        zeros = np.zeros(num_documents, dtype=np.int64)
        facts = np.zeros((num_documents, self.sizes.facts), dtype=np.int64)
        return State(
            phase=np.full(num_documents, SETTING),
            row=np.full(num_documents, self._row_setting),
            setting=zeros.copy(),
            agreement=zeros.copy(),
            fact=zeros.copy(),
            names=facts.copy(),
            values=facts.copy(),
        )

    def probabilities(self, state: State) -> Float64[np.ndarray, "batch vocabulary"]:
        """The distribution of the next word of each document; every row sums to 1."""
        sizes, name = self.sizes, self.first["name"]
        result = self._table[state.row]
        (stating,) = np.nonzero(state.phase == FACT_NAME)
        (starting,) = np.nonzero(state.phase == START)
        (recalling,) = np.nonzero(state.phase == RECALL)
        num_left = sizes.names - state.fact[stating]
        result[stating, name : name + sizes.names] = (1 / num_left)[:, None]
        for fact in range(sizes.facts):
            earlier = stating[state.fact[stating] > fact]
            result[earlier, state.names[earlier, fact]] = 0
            result[starting, state.names[starting, fact]] = sizes.recall_fraction / sizes.facts
        result[recalling, state.values[recalling, state.fact[recalling]]] = 1
        return result

    def advance(self, state: State, words: Int64[np.ndarray, " batch"]) -> None:
        """Move every document over its next word, in place.

        Args:
            state: The state before the word.
            words: A possible next word for each document.
        """
        sizes, first, phase = self.sizes, self.first, state.phase.copy()

        def move(where: np.ndarray, next_phase: int, rows: np.ndarray | int) -> None:
            state.phase[where] = next_phase
            state.row[where] = rows

        at = phase == SETTING
        state.setting[at] = self._group[words[at]]
        move(at, FACT_NAME, self._row_empty)
        (at,) = np.nonzero(phase == FACT_NAME)
        state.names[at, state.fact[at]] = words[at]
        move(at, FACT_VALUE, self._row_value[words[at] - first["name"]])
        (at,) = np.nonzero(phase == FACT_VALUE)
        state.values[at, state.fact[at]] = words[at]
        state.fact[at] += 1
        move(at, FACT_NAME, self._row_empty)
        move(at[state.fact[at] == sizes.facts], START, self._row_start)
        at = (phase == START) & (words >= first["article"])
        state.agreement[at] = self._group[words[at]]
        move(at, MODIFIED, self._row_modified[0, state.agreement[at]])
        (at,) = np.nonzero((phase == START) & (words < first["article"]))
        state.fact[at] = (state.names[at] == words[at, None]).argmax(axis=1)
        move(at, RECALL, self._row_empty)
        at = (phase == MODIFIED) & (words < first["noun"])
        adjectives = words[at] - first["adjective"]
        move(at, MODIFIED, self._row_modified[1 + adjectives, state.agreement[at]])
        at = (phase == MODIFIED) & (words >= first["noun"])
        move(at, VERB, self._row_verb[words[at] - first["noun"]])
        at = phase == VERB
        move(at, PLACE, self._row_place[state.setting[at]])
        move((phase == PLACE) | (phase == RECALL), START, self._row_start)

    def entropy(self, document_length: int) -> float:
        """Exact entropy of a document of `document_length` words, in nats.

        Shannon [1], section 7, with each position's state distribution in place of the stationary.
        """
        sizes = self.sizes
        recall, noun = sizes.recall_fraction, sizes.noun_fraction
        header = [math.log(sizes.settings)]
        for fact in range(sizes.facts):
            header += [math.log(sizes.names - fact), math.log(sizes.values)]
        nouns, adjectives = _entropy(_zipf(sizes.nouns)), _entropy(_zipf(sizes.adjectives))
        # states by the kind of the last word: words of a kind behave alike up to a permutation
        entropies = {
            "start": _choice(recall, math.log(sizes.facts), math.log(sizes.classes)),
            "article": _choice(noun, nouns, math.log(sizes.adjectives)),
            "adjective": _choice(noun, nouns, adjectives),
            "noun": _entropy(_zipf(sizes.verbs)),
            "verb": _entropy(_zipf(sizes.places)),
            "name": 0.0,
        }
        moves = {
            "start": {"article": 1 - recall, "name": recall},
            "article": {"adjective": 1 - noun, "noun": noun},
            "adjective": {"adjective": 1 - noun, "noun": noun},
            "noun": {"verb": 1.0},
            "verb": {"start": 1.0},
            "name": {"start": 1.0},
        }
        total = math.fsum(header[:document_length])
        occupancy = {"start": 1.0}
        for _ in range(document_length - len(header)):
            total += math.fsum(share * entropies[state] for state, share in occupancy.items())
            following = dict.fromkeys(moves, 0.0)
            for state, share in occupancy.items():
                for target, probability in moves[state].items():
                    following[target] += share * probability
            occupancy = following
        return total


def _uniform(size: int) -> np.ndarray:
    return np.full(size, 1 / size)


def _zipf(size: int) -> np.ndarray:
    weights = 1 / np.arange(1.0, size + 1)
    return weights / weights.sum()


def _entropy(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def _choice(probability: float, entropy_if: float, entropy_else: float) -> float:
    """Entropy of a two-way choice followed by a draw from the branch taken."""
    shares = np.array([probability, 1 - probability])
    return _entropy(shares) + float(shares @ [entropy_if, entropy_else])


def _check(sizes: Sizes) -> None:
    for field, value in sizes._asdict().items():
        if field.endswith("_fraction") and not 0 <= value <= 1:
            raise UsageError(f"{field} is {value}", "Probabilities lie between 0 and 1.")
        if not field.endswith("_fraction") and value < 1:
            raise UsageError(f"{field} is {value}", "Every class needs at least one word.")
    if sizes.noun_fraction == 0:
        raise UsageError("noun_fraction is 0", "A description needs a noun to end.")
    if sizes.facts > sizes.names:
        message = f"{sizes.facts} facts about {sizes.names} names"
        raise UsageError(message, "Give each fact a name of its own.")
