"""N-gram language models with interpolated Witten-Bell smoothing, as floors for neural ones.

The chance of token w behind a context h of n-1 tokens is

    p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h))

where c counts, T(h) is the number of different tokens seen behind h, and h' is h without its first
token; behind a context that was never seen, p(w | h) = p(w | h'). Below the single tokens is the
uniform distribution. Nothing is estimated but counts, every token has a chance above zero, and the
chances behind any context sum to one [1, 2].

Counted is what a neural model is trained on: every token of a block but its first, behind at most
n-1 tokens of the same block.

References:
    [1] Witten, Bell 1991, The Zero-Frequency Problem (method C). https://doi.org/10.1109/18.87000
    [2] Chen, Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling,
        Harvard TR-10-98, section on Witten-Bell smoothing.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from sentinel_research.errors import UsageError

Tokens = Int64[np.ndarray, "rows length"]
_LARGEST_CODE = np.iinfo(np.int64).max
_BATCH = 16


class NgramCounts:
    """Counts of all orders up to one, and the smoothed chances that follow from them.

    Args:
        blocks: Token ids `[num_blocks, length]`, each in `[0, vocab_size)`.
        order: Tokens of the longest n-gram: 1, 2, 3, ...
        vocab_size: Different tokens.

    Raises:
        UsageError: if an order is below 1, or n-grams of this order and vocabulary have no number
            of 64 bits.
    """

    def __init__(self, blocks: Tokens, order: int, vocab_size: int) -> None:
        if order < 1:
            raise UsageError(f"an n-gram of {order} tokens", "the order is 1 or more")
        if vocab_size**order > _LARGEST_CODE:
            raise UsageError(
                f"n-grams of {order} tokens of a vocabulary of {vocab_size:,} cannot be numbered",
                "lower the order (`compare.ngrams`)",
            )
        self.order, self.vocab_size = order, vocab_size
        self._levels = [_Level(blocks, length, vocab_size) for length in range(order)]

    @property
    def num_ngrams(self) -> int:
        """Different n-grams that were counted, of all orders."""
        return sum(level.num_ngrams for level in self._levels)

    def probabilities(self, contexts: Tokens) -> Float64[np.ndarray, "rows vocab"]:
        """Chances of every token behind each context.

        Args:
            contexts: `[rows, length]`; only the last `order - 1` tokens count, fewer are fine.
        """
        rows = np.full((len(contexts), self.vocab_size), 1 / self.vocab_size)
        for length, level in enumerate(self._levels[: contexts.shape[1] + 1]):
            level.interpolate(contexts[:, contexts.shape[1] - length :], rows)
        return rows

    def log_probs(self, ids: Tokens) -> Float64[np.ndarray, "rows length vocab"]:
        """Log-chances in nats of the token behind every position, from the row up to there."""
        found = np.empty((*ids.shape, self.vocab_size))
        longest = min(self.order - 1, ids.shape[1])
        # the first positions of a row have short contexts; all others have one of the full length
        for length in range(min(1, longest), longest):
            found[:, length - 1] = self._log_rows(ids[:, :length])
        if longest == 0:
            found[:] = self._log_rows(ids[:1, :0])
            return found
        windows = np.lib.stride_tricks.sliding_window_view(ids, longest, axis=1)
        flat = self._log_rows(windows.reshape(-1, longest))
        found[:, longest - 1 :] = flat.reshape(*windows.shape[:2], -1)
        return found

    def _log_rows(self, contexts: Tokens) -> Float64[np.ndarray, "rows vocab"]:
        # equal contexts have equal rows
        different, place = np.unique(contexts, axis=0, return_inverse=True)
        return np.log(self.probabilities(different))[place.reshape(-1)]


class _Level:
    """Counts behind contexts of one length, sorted by context and token."""

    def __init__(self, blocks: Tokens, length: int, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        # the first token of a block is never predicted
        first = max(length, 1)
        codes = np.zeros((len(blocks), max(0, blocks.shape[1] - first)), dtype=np.int64)
        for back in range(length, -1, -1):
            codes = codes * vocab_size + blocks[:, first - back : blocks.shape[1] - back]
        self._codes, self._counts = np.unique(codes, return_counts=True)
        self._contexts, starts = np.unique(self._codes // vocab_size, return_index=True)
        self._totals = np.add.reduceat(self._counts, starts)
        self._starts = np.append(starts, len(self._codes))

    @property
    def num_ngrams(self) -> int:
        """Different n-grams of this length."""
        return len(self._codes)

    def interpolate(self, contexts: Tokens, rows: Float64[np.ndarray, "rows vocab"]) -> None:
        """Mix the counts behind contexts of this length into the rows of the shorter ones."""
        code = np.zeros(len(contexts), dtype=np.int64)
        for column in contexts.T:
            code = code * self._vocab_size + column
        place = np.searchsorted(self._contexts, code)
        known = np.flatnonzero(np.append(self._contexts, -1)[place] == code)
        starts, stops = self._starts[place[known]], self._starts[place[known] + 1]
        num_different = stops - starts
        rows[known] *= num_different[:, None]
        row = np.repeat(known, num_different)
        within = np.arange(len(row)) - np.repeat(
            np.cumsum(num_different) - num_different, num_different
        )
        seen = np.repeat(starts, num_different) + within
        # no pair of row and token comes twice
        rows[row, self._codes[seen] % self._vocab_size] += self._counts[seen]
        rows[known] /= (self._totals[place[known]] + num_different)[:, None]


class NgramConfig(PretrainedConfig):
    """What lm-eval asks a model's configuration for."""

    model_type = "sentinel_ngram"
    vocab_size: int = 0


class NgramForCausalLM(PreTrainedModel):
    """An n-gram model behind the interface of a causal LM, so that one protocol measures all.

    Args:
        counts: What it knows.
    """

    config_class = NgramConfig

    def __init__(self, counts: NgramCounts) -> None:
        super().__init__(NgramConfig(vocab_size=counts.vocab_size))
        self._counts = counts
        # a model without parameters has no device and no type
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, input_ids: Tensor, **_: Any) -> CausalLMOutput:
        """Log-chances `[batch, seq, vocab]` as logits, in float32."""
        found = self._counts.log_probs(input_ids.cpu().numpy())
        return CausalLMOutput(logits=torch.from_numpy(found).to(input_ids.device, torch.float32))


def nats_per_token(counts: NgramCounts, blocks: Tokens) -> float:
    """Mean loss in nats over every token of every block but the first, as in validation."""
    total = 0.0
    for start in range(0, len(blocks), _BATCH):
        rows = blocks[start : start + _BATCH]
        log_probs = counts.log_probs(rows)[:, :-1]
        total -= float(np.take_along_axis(log_probs, rows[:, 1:, None], axis=2).sum())
    return total / (len(blocks) * (blocks.shape[1] - 1))
