"""Log-likelihoods of continuations, from no more of a model than they need.

Beginnings that several sequences share are read once (`prefixes`): what comes behind is given their
keys and values, or states. Nodes with something behind them go together only with others of the
same length, so that no cache has a gap, and positions are what every family takes them for by
itself; those at the end are padded on the right. The output head, which costs most where models are
small and vocabularies large, multiplies the rows that somebody asks for and no others. A
log-probability is the logit less the logarithm of the sum, of float32 at least; sums over tokens
are of float64.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import Cache

from sentinel_research.evaluation.caches import select_rows
from sentinel_research.evaluation.prefixes import Node, Wanted

Score = tuple[float, bool]
"""Log-likelihood in nats, and whether every token is the likeliest."""
Forward = Callable[
    [Int64[Tensor, "batch seq"], Cache | None, bool],
    tuple[Float[Tensor, "batch rows vocab"], Cache | None],
]
"""Token ids behind a cache, and whether a cache is wanted, to logits and that cache."""
Progress = Callable[[int, Mapping[int, Score]], Any]
"""Tokens scored in a pass, and the scores that it completed, by their continuation's place."""


class Scorer:
    """Reads trees of sequences and adds up what is asked about them.

    Args:
        forward: Of the model.
        head: Its output head, which is given the scored rows only; None computes all.
        device: Of the model.
        num_tokens: Of each continuation.
        batch_size: Most nodes in a pass.
        progress: Told after every pass.
    """

    def __init__(
        self,
        forward: Forward,
        head: nn.Module | None,
        device: torch.device,
        num_tokens: Sequence[int],
        batch_size: int,
        progress: Progress,
    ) -> None:
        self._progress = progress
        self._forward, self._head, self._device = forward, head, device
        self._batch_size = batch_size
        self._left = torch.tensor(num_tokens, dtype=torch.int64)
        self._sums = torch.zeros(len(num_tokens), dtype=torch.float64)
        self._misses = torch.zeros(len(num_tokens), dtype=torch.int64)

    def read(self, roots: Sequence[Node]) -> None:
        """Read some trees, which begin without a cache."""
        self._read(roots, None, [0] * len(roots))

    def scores(self) -> list[Score]:
        """Of everything that was asked, in its order."""
        is_greedy = (self._misses == 0).tolist()
        return list(zip(self._sums.tolist(), is_greedy, strict=True))

    def _read(self, nodes: Sequence[Node], cache: Cache | None, rows: Sequence[int]) -> None:
        """Read nodes behind rows of a cache, and what is behind them."""
        last = [place for place, node in enumerate(nodes) if not node.children]
        last.sort(key=lambda place: -len(nodes[place].tokens))
        for places in _divided(last, self._batch_size):
            own = None if cache is None else select_rows(cache, [rows[one] for one in places])
            self._pass([nodes[one] for one in places], own, wants_cache=False)
        by_length: dict[int, list[int]] = {}
        for place, node in enumerate(nodes):
            if node.children:
                by_length.setdefault(len(node.tokens), []).append(place)
        for length in sorted(by_length, reverse=True):
            for places in _divided(by_length[length], self._batch_size):
                own = None if cache is None else select_rows(cache, [rows[one] for one in places])
                batch = [nodes[one] for one in places]
                behind = self._pass(batch, own, wants_cache=True)
                children = [child for node in batch for child in node.children]
                parents = [row for row, node in enumerate(batch) for _ in node.children]
                self._read(children, behind, parents)

    def _pass(
        self, batch: Sequence[Node], cache: Cache | None, *, wants_cache: bool
    ) -> Cache | None:
        ids = torch.zeros(len(batch), max(len(node.tokens) for node in batch), dtype=torch.int64)
        for row, node in enumerate(batch):
            ids[row, : len(node.tokens)] = torch.tensor(node.tokens)
        wanted = [(row, one) for row, node in enumerate(batch) for one in node.wanted]
        flat = torch.tensor([row * ids.shape[1] + one.position for row, one in wanted]).long()
        rows, slots = torch.unique(flat, return_inverse=True)
        with _rows_only(self._head, ids.shape[1], rows.to(self._device)):
            logits, behind = self._forward(ids.to(self._device), cache, wants_cache)
        logits = logits.flatten(0, 1)
        if self._head is None:
            logits = logits[rows.to(self._device)]
        done = self._add(logits, slots, [one for _, one in wanted]) if wanted else {}
        self._progress(len(wanted), done)
        return behind

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


def _divided(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


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
