"""A synthetic language whose entropy is known exactly, for tests and offline runs.

It is not natural language and no result on it says anything about natural language; everything
made from it is labelled `synthetic`. A model needs four things to reach its entropy: local
statistics, agreement over a few words, a look at the first word, and recall of a pair stated at the
start (data/source.py says how documents are made). No tokenizer has to be learnt: words are tokens,
so the word perplexity is the token perplexity.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from sentinel_research.data.source import Sizes, Source
from sentinel_research.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPLIT_SIZES = {"train": 8_192, "validation": 256, "test": 256}
"""Documents of each split of the corpus `synthetic`; the n-th split is drawn with seed n."""

_BATCH = 1024
_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"


class Drawn(NamedTuple):
    """Documents of the language, and how likely each of them was."""

    documents: list[str]
    """Words joined by single spaces."""
    log_probs: Float64[np.ndarray, " documents"]
    """Exact log-probabilities in nats."""


class SyntheticLanguage:
    """A language with a known entropy.

    Args:
        seed: Which language: it fixes the spelling of the words and which of them are frequent.
        document_length: Words in a document; with the default, `<bos>` and a document make 128
            tokens.
        sizes: Class sizes and choice probabilities.

    Attributes:
        vocabulary: All words, in a fixed order.

    Raises:
        UsageError: if a size, a length or a probability is out of range.

    Example:
        >>> language = SyntheticLanguage()
        >>> document = language.sample(1, seed=0)[0]
        >>> len(document.split(" ")), language.log_prob(document) < 0
        (127, True)
    """

    def __init__(
        self, seed: int = 0, *, document_length: int = 127, sizes: Sizes | None = None
    ) -> None:
        if document_length < 1:
            raise UsageError(f"document_length is {document_length}", "It is at least 1 word.")
        rng = np.random.default_rng([seed, 0])
        self.seed = seed
        self.document_length = document_length
        self._source = Source(sizes or Sizes(), rng)
        words = _spellings(self._source.num_words, rng)
        # names are capitalised, to make documents easier to read
        for index in range(self._source.first["name"], self._source.first["value"]):
            words[index] = words[index].capitalize()
        self.vocabulary: tuple[str, ...] = tuple(words)
        self._index = {word: index for index, word in enumerate(words)}

    @property
    def entropy_per_word(self) -> float:
        """Exact entropy of a document divided by its number of words, in nats.

        Its exponential is the lowest expected word perplexity that a causal model can reach.
        """
        return self._source.entropy(self.document_length) / self.document_length

    def sample(self, num_documents: int, seed: int) -> list[str]:
        """Draw documents; see `draw`."""
        return self.draw(num_documents, seed).documents

    def draw(self, num_documents: int, seed: int) -> Drawn:
        """Draw documents; the same seed gives the same bytes.

        Args:
            num_documents: How many documents.
            seed: Which draw, independent of the seed of the language.

        Returns:
            Documents of `document_length` words joined by single spaces, and what `log_probs`
            finds for them.
        """
        rng = np.random.default_rng([self.seed, 1, seed])
        documents: list[str] = []
        log_probs = np.zeros(num_documents)
        for start in range(0, num_documents, _BATCH):
            state = self._source.start(min(_BATCH, num_documents - start))
            each = np.arange(len(state.row))
            columns = []
            for _ in range(self.document_length):
                probabilities = self._source.probabilities(state)
                cumulative = probabilities.cumsum(axis=1)  # [B, V]
                # scaled by the row's own total, so that rounding never selects past the end
                threshold = rng.random((len(cumulative), 1)) * cumulative[:, -1:]
                columns.append((cumulative <= threshold).sum(axis=1))
                log_probs[start : start + _BATCH] += np.log(probabilities[each, columns[-1]])
                self._source.advance(state, columns[-1])
            rows = np.stack(columns, axis=1).tolist()
            documents += [" ".join(map(self.vocabulary.__getitem__, row)) for row in rows]
        return Drawn(documents, log_probs)

    def log_probs(self, documents: Sequence[str]) -> Float64[np.ndarray, " documents"]:
        """Exact log-probability of each document in nats, minus infinity if it is impossible.

        Args:
            documents: Texts of `document_length` words joined by single spaces.

        Raises:
            DataError: if a document has another number of words.
        """
        totals = [
            self._log_probs(self._encode(documents[start : start + _BATCH]))
            for start in range(0, len(documents), _BATCH)
        ]
        return np.concatenate(totals) if totals else np.zeros(0)

    def log_prob(self, document: str) -> float:
        """Exact log-probability of one document in nats; see `log_probs`."""
        return float(self.log_probs([document])[0])

    def _encode(self, documents: Sequence[str]) -> Int64[np.ndarray, "batch words"]:
        rows = [[self._index.get(word, -1) for word in text.split(" ")] for text in documents]
        for row in rows:
            if len(row) != self.document_length:
                raise DataError(
                    f"a document of {len(row)} words",
                    f"Documents of this language have {self.document_length} words.",
                )
        return np.array(rows)

    def _log_probs(self, words: Int64[np.ndarray, "batch words"]) -> Float64[np.ndarray, " batch"]:
        state = self._source.start(len(words))
        totals = np.zeros(len(words))
        each = np.arange(len(words))
        for column in words.T:
            probabilities = self._source.probabilities(state)
            chance = np.where(column >= 0, probabilities[each, column], 0.0)
            impossible = chance == 0
            totals += np.log(chance, where=~impossible, out=np.full(len(words), -np.inf))
            # an impossible document goes on with any possible word; its total stays where it is
            self._source.advance(state, np.where(impossible, probabilities.argmax(1), column))
        return totals


def word_tokenizer(vocabulary: Sequence[str]) -> "PreTrainedTokenizerFast":
    """A tokenizer whose tokens are whole words separated by single spaces.

    Args:
        vocabulary: The words; they get the first token numbers, `<bos>`, `<eos>`, `<pad>` and
            `<unk>` the last four.

    Returns:
        A tokenizer that adds no special tokens; `decode(encode(text)) == text` for known words.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")}
    tokens = [*vocabulary, *special.values()]
    tokenizer = Tokenizer(
        models.WordLevel(
            {token: index for index, token in enumerate(tokens)}, unk_token=special["unk_token"]
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **special,
        clean_up_tokenization_spaces=False,
    )


def _spellings(num_words: int, rng: np.random.Generator) -> list[str]:
    """Different pronounceable words of two syllables."""
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    words = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
    return [words[index] for index in rng.permutation(len(words))[:num_words]]
