"""Log-likelihoods of continuations, from no more of a model than they need.

Each distinct sequence is read once, and one that begins another, as the contexts of one-token
continuations do, is read with it: the models are causal. The output head, which costs most where
models are small and vocabularies large, multiplies the rows that somebody asks for and no others.
A log-probability is the logit less the logarithm of the sum, of float32 at least; sums over tokens
are of float64.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

Score = tuple[float, bool]
"""Log-likelihood in nats, and whether every token is the likeliest."""
Forward = Callable[[Int64[Tensor, "batch seq"]], Float[Tensor, "batch rows vocab"]]


class Continuation(NamedTuple):
    """Tokens to score behind others."""

    read: tuple[int, ...]
    """What the model reads: context and continuation, but for its last token."""
    target: tuple[int, ...]
    """The continuation; what `read` has at `-len(target)` predicts its first token."""


class Reading(NamedTuple):
    """A sequence that the model reads, and the continuations whose rows are in it."""

    tokens: tuple[int, ...]
    continuations: tuple[int, ...]
    """Their places in the list that was asked for."""


def readings(asked: Sequence[Continuation]) -> list[Reading]:
    """The fewest sequences in which everything is read, longest first.

    Args:
        asked: Continuations, also equal ones.

    Example:
        >>> pairs = [Continuation((1, 2), (3,)), Continuation((1, 2, 3), (4,))]
        >>> readings(pairs)
        [Reading(tokens=(1, 2, 3), continuations=(1, 0))]
    """
    by_tokens: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(asked):
        by_tokens.setdefault(one.read, []).append(place)
    found: list[tuple[tuple[int, ...], list[int]]] = []
    # in this order a sequence comes right behind those that begin with it
    for tokens in sorted(by_tokens, reverse=True):
        if found and found[-1][0][: len(tokens)] == tokens:
            found[-1][1].extend(by_tokens[tokens])
        else:
            found.append((tokens, by_tokens[tokens]))
    found.sort(key=lambda one: -len(one[0]))
    return [Reading(tokens, tuple(places)) for tokens, places in found]


def score_batch(
    forward: Forward,
    head: nn.Module | None,
    batch: Sequence[Reading],
    asked: Sequence[Continuation],
    device: torch.device,
) -> dict[int, Score]:
    """Score everything that is asked about some sequences.

    Args:
        forward: Token ids, padded on the right with 0, to logits.
        head: The model's output head, which is given the scored rows only; None computes all.
        batch: Sequences, of which the first is the longest.
        asked: All continuations.
        device: Of the model.

    Returns:
        Scores by place in `asked`.
    """
    ids = torch.zeros(len(batch), len(batch[0].tokens), dtype=torch.int64)
    for row, reading in enumerate(batch):
        ids[row, : len(reading.tokens)] = torch.tensor(reading.tokens)
    places = [place for reading in batch for place in reading.continuations]
    owners, flat, targets = _wanted(batch, asked, ids.shape[1])
    rows, slots = torch.unique(flat, return_inverse=True)
    with _rows_only(head, ids.shape[1], rows.to(device)):
        logits = forward(ids.to(device)).flatten(0, 1)
    if head is None:
        logits = logits[rows.to(device)]
    return dict(zip(places, _scores(logits, slots, targets, owners, len(places)), strict=True))


def _wanted(
    batch: Sequence[Reading], asked: Sequence[Continuation], length: int
) -> tuple[Int64[Tensor, " scored"], Int64[Tensor, " scored"], Int64[Tensor, " scored"]]:
    """Of every scored token the number of its continuation, its row in the batch, and itself."""
    owners: list[int] = []
    flat: list[int] = []
    targets: list[int] = []
    number = 0
    for row, reading in enumerate(batch):
        for place in reading.continuations:
            read, target = asked[place]
            start = row * length + len(read) - len(target)
            owners += [number] * len(target)
            flat += range(start, start + len(target))
            targets += target
            number += 1
    return torch.tensor(owners), torch.tensor(flat), torch.tensor(targets)


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


def _scores(
    logits: Float[Tensor, "rows vocab"],
    slots: Int64[Tensor, " scored"],
    targets: Int64[Tensor, " scored"],
    owners: Int64[Tensor, " scored"],
    number: int,
) -> list[Score]:
    """Sums over each continuation's tokens."""
    exact = logits if logits.dtype == torch.float64 else logits.float()
    total = exact.logsumexp(-1).double().cpu()
    device = logits.device
    chosen = exact[slots.to(device), targets.to(device)].double().cpu()
    is_greedy = logits.argmax(-1).cpu()[slots] == targets
    sums = torch.zeros(number, dtype=torch.float64).index_add_(0, owners, chosen - total[slots])
    misses = torch.zeros(number, dtype=torch.int64).index_add_(0, owners, (~is_greedy).long())
    return list(zip(sums.tolist(), (misses == 0).tolist(), strict=True))
