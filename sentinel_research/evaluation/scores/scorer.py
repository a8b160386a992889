"""Log-likelihoods of continuations, from no more of a model than they need.

Beginnings that several sequences share are read once (`prefixes`): what comes behind is given their
keys and values, or states. Everything is padded on the right, where a causal model does not look;
only states, which would have read the padding, are made from sequences of one length. The output
head, which costs most where models are small and vocabularies large, multiplies the rows that
somebody asks for and no others. A log-probability is the logit less the logarithm of the sum, of
float32 at least; sums over tokens are of float64.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sentinel_research.evaluation.scores.batch_size import BatchSize
from sentinel_research.evaluation.scores.paths import NOTHING, Past, PathCaches
from sentinel_research.evaluation.scores.prefixes import Node, Wanted

Score = tuple[float, bool]
"""Log-likelihood in nats, and whether every token is the likeliest."""
Forward = Callable[[Int64[Tensor, "batch seq"], dict[str, Any]], Float[Tensor, "batch rows vocab"]]
"""Token ids and what else a model's `forward` is given, to logits."""
Progress = Callable[[int, Mapping[int, Score]], Any]
"""Tokens scored in a pass, and the scores that it completed, by their continuation's place."""
_MOST_ROWS = 4
"""Times the batch size, of sequences that are as much shorter than the longest."""
Behind = tuple[Node, Past]
"""A node and what it is read behind."""


class Limits(NamedTuple):
    """Of one model on one machine."""

    batch_size: BatchSize
    """Most sequences of the greatest length in a pass."""
    pass_tokens: float
    """What a pass costs beside its tokens, in tokens: no more padding is worth one pass less."""
    kept_bytes: float
    """Of keys and values, or states, that are kept at a time, and at least of one sequence."""


class Scorer:
    """Reads trees of sequences and adds up what is asked about them.

    Args:
        forward: Of the model.
        caches: Makes the model's; None if nothing is shared.
        head: Its output head, which is given the scored rows only; None computes all.
        device: Of the model.
        num_tokens: Of each continuation.
        limits: Of a pass, and of what is kept between passes.
        progress: Told after every pass.
    """

    def __init__(
        self,
        forward: Forward,
        caches: PathCaches | None,
        head: nn.Module | None,
        device: torch.device,
        num_tokens: Sequence[int],
        limits: Limits,
        progress: Progress,
    ) -> None:
        self._forward, self._caches, self._head = forward, caches, head
        self._device, self._limits, self._progress = device, limits, progress
        self._longest = 1
        self._left = torch.tensor(num_tokens, dtype=torch.int64)
        self._sums = torch.zeros(len(num_tokens), dtype=torch.float64)
        self._misses = torch.zeros(len(num_tokens), dtype=torch.int64)

    def read(self, roots: Sequence[Node]) -> None:
        """Read some trees, which begin without a past."""
        self._longest = max((root.depth for root in roots), default=1)
        self._read([(root, NOTHING) for root in roots], self._limits.kept_bytes)

    def scores(self) -> list[Score]:
        """Of everything that was asked, in its order."""
        is_greedy = (self._misses == 0).tolist()
        return list(zip(self._sums.tolist(), is_greedy, strict=True))

    def _read(self, asked: Sequence[Behind], room: float) -> None:
        """Read nodes, and what is behind them while their keys and values fit in some bytes."""
        asked = sorted(asked, key=lambda one: -len(one[0].tokens))
        for batch in self._batches([one for one in asked if not one[0].children], math.inf):
            self._pass(batch)
        inner = [one for one in asked if one[0].children]
        children: list[Behind] = []
        held = 0.0
        while inner:
            batch = self._parents(inner, room - held)
            inner = inner[len(batch) :]
            for (node, _), past in zip(batch, self._pass(batch), strict=True):
                children += [(child, past) for child in node.children]
                held += self._kept(node)
            if not inner or held + self._kept(inner[0][0]) > room:
                self._read(children, room - held)
                children, held = [], 0.0

    def _parents(self, inner: Sequence[Behind], room: float) -> list[Behind]:
        """The nodes at the beginning of a list that are read together and kept."""
        assert self._caches is not None  # else no node has another behind it
        alike = inner
        if self._caches.has_states:
            length = len(inner[0][0].tokens)
            alike = list(takewhile(lambda one: len(one[0].tokens) == length, inner))
        # what a sequence takes shows when one was read
        each = self._kept(inner[0][0])
        return next(self._batches(alike, max(1, room // each if each else 1)))

    def _kept(self, node: Node) -> float:
        """Bytes of what others go on behind."""
        assert self._caches is not None  # else nobody does
        return self._caches.num_bytes(len(node.tokens))

    def _batches(self, asked: Sequence[Behind], most: float) -> Iterator[list[Behind]]:
        """Nodes that are read together; they come with the longest first."""
        start = 0
        while start < len(asked):
            longest = len(asked[start][0].tokens)
            shorter = max(1, min(self._longest // longest, _MOST_ROWS))
            size = min(most, self._limits.batch_size.value * shorter)
            end, padding = start + 1, 0
            while end < len(asked) and end - start < size:
                padding += longest - len(asked[end][0].tokens)
                if padding > self._limits.pass_tokens:
                    break
                end += 1
            yield list(asked[start:end])
            start = end

    def _pass(self, batch: Sequence[Behind]) -> list[Past]:
        """Read some nodes, in parts if there is no memory for all; see `_read_once`."""
        start = time.perf_counter()
        try:
            pasts = self._read_once(batch)
        except RuntimeError as error:
            if len(batch) == 1 or not should_reduce_batch_size(error):
                raise
        else:
            num_tokens = sum(len(node.tokens) for node, _ in batch)
            self._limits.batch_size.measured(len(batch), num_tokens, time.perf_counter() - start)
            return pasts
        clear_device_cache(garbage_collection=True)
        self._limits.batch_size.failed(len(batch))
        half = len(batch) // 2
        return self._pass(batch[:half]) + self._pass(batch[half:])

    def _read_once(self, batch: Sequence[Behind]) -> list[Past]:
        """Read some nodes; what others go on behind, if they have others behind them."""
        nodes = [node for node, _ in batch]
        starts = [node.start for node in nodes]
        ids = torch.zeros(len(nodes), max(len(node.tokens) for node in nodes), dtype=torch.int64)
        for row, node in enumerate(nodes):
            ids[row, : len(node.tokens)] = torch.tensor(node.tokens)
        if self._caches is None:
            self._score(nodes, ids, {})
            return []
        if not starts[0] and not nodes[0].children:
            self._score(nodes, ids, {"use_cache": False})
            return []
        cache = self._caches.behind([past for _, past in batch])
        self._score(nodes, ids, self._caches.given(cache, starts, ids.shape[1]))
        if not nodes[0].children:
            return []
        ends = [node.start + len(node.tokens) for node in nodes]
        return [self._caches.past(cache, row, end) for row, end in enumerate(ends)]

    def _score(
        self, nodes: Sequence[Node], ids: Int64[Tensor, "batch seq"], options: dict[str, Any]
    ) -> None:
        """Read tokens, and add up what is asked about them."""
        wanted = [(row, one) for row, node in enumerate(nodes) for one in node.wanted]
        flat = torch.tensor([row * ids.shape[1] + one.position for row, one in wanted]).long()
        rows, slots = torch.unique(flat, return_inverse=True)
        with _rows_only(self._head, ids.shape[1], rows.to(self._device)):
            logits = self._forward(ids.to(self._device), options)
        logits = logits.flatten(0, 1)
        if self._head is None:
            logits = logits[rows.to(self._device)]
        done = self._add(logits, slots, [one for _, one in wanted]) if wanted else {}
        self._progress(len(wanted), done)

    def _add(
        self,
        logits: Float[Tensor, "rows vocab"],
        slots: Int64[Tensor, " scored"],
        wanted: Sequence[Wanted],
    ) -> dict[int, Score]:
        """Add scored tokens to their sums; the sums that are complete now."""
        targets = torch.tensor([one.token for one in wanted])
        owners = torch.tensor([one.owner for one in wanted])
        exact = logits if logits.dtype == torch.float64 else logits.float()
        total = exact.logsumexp(-1).double().cpu()
        at = (slots.to(logits.device), targets.to(logits.device))
        log_probs = exact[at].double().cpu() - total[slots]
        is_miss = logits.argmax(-1).cpu()[slots] != targets
        self._sums.index_add_(0, owners, log_probs)
        self._misses.index_add_(0, owners, is_miss.long())
        self._left.index_add_(0, owners, torch.full_like(owners, -1))
        touched = owners.unique()
        done = touched[self._left[touched] == 0]
        is_greedy = self._misses[done] == 0
        scores = zip(self._sums[done].tolist(), is_greedy.tolist(), strict=True)
        return dict(zip(done.tolist(), scores, strict=True))


@contextlib.contextmanager
def _rows_only(head: nn.Module | None, length: int, rows: Int64[Tensor, " rows"]) -> Iterator[None]:
    """Give the head some rows of the hidden states, as a batch of one."""
    if head is None:
        yield
        return

    def select(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        # prompt tuning puts positions of its own in front
        before = hidden.shape[1] - length
        own = hidden[:, before:] if before else hidden
        return (own.flatten(0, 1)[rows][None], *args[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
