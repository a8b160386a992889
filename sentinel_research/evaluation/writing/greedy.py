"""Greedy continuations of prompts of any lengths, in a batch that rows leave and join.

A row that has stopped leaves, and prompts that wait take the free places. Rows end in the same
column of the cache (`columns`); a mask hides what is in front of a row's first token, and positions
count from there, so that each row is what it is alone but for the order in which sums are rounded.
"""

import inspect
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.evaluation.caches import empty_cache, given, select_rows
from sentinel_research.evaluation.scores.batch_size import BatchSize
from sentinel_research.evaluation.writing.columns import fit, join

REFILL_FRACTION = 0.5
"""Free places in a batch before waiting prompts are read: a pass for each would cost more."""


class Ending(NamedTuple):
    """What ends a continuation."""

    max_tokens: int
    """Tokens at most."""
    tokens: frozenset[int]
    """Any of these; it is still part of the continuation."""
    phrases: dict[int, tuple[str, ...]]
    """Any of these strings in the text of so many last tokens."""


@dataclass(eq=False)
class _Row:
    """A continuation that is being written."""

    place: int
    """Of its prompt in the list that was asked for."""
    prompt: Sequence[int]
    written: list[int] = field(default_factory=list)

    @property
    def num_read(self) -> int:
        """Tokens in the cache: the last one written is not."""
        return len(self.prompt) + len(self.written) - 1


class GreedyWriter:
    """Writes the likeliest token again and again.

    Args:
        model: A causal LM in evaluation mode, on its device, whose cache has known columns.
        tokenizer: Its own; decodes what phrases are looked for in.
        ending: What ends a continuation.
        batch_size: Most rows at a time. Where there is no memory for so many, those that are being
            written are written anew, half as many at a time.
        progress: Told the place of every prompt whose continuation is finished, and that.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        ending: Ending,
        batch_size: BatchSize,
        progress: Callable[[int, list[int]], Any],
    ) -> None:
        self._model, self._tokenizer, self._ending = model, tokenizer, ending
        self._batch_size, self._progress = batch_size, progress
        self._takes = set(inspect.signature(model.forward).parameters)
        self._waiting = deque[_Row]()
        self._rows: list[_Row] = []
        self._cache: Cache | None = None
        self._num_columns = 0

    @torch.inference_mode()
    def write(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Continue every prompt.

        Args:
            prompts: Token ids; at least one of each.

        Returns:
            The continuations in the order of the prompts.
        """
        found: list[list[int]] = [[] for _ in prompts]
        # neighbours have nearly the same length, and too little memory shows at once
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        self._waiting = deque(_Row(place, prompts[place]) for place in order)
        while self._waiting or self._rows:
            for row in self._write_on():
                found[row.place] = row.written
                self._progress(row.place, row.written)
        return found

    def _write_on(self) -> list[_Row]:
        """Read waiting prompts, or write one more token in every row; returns what ends there."""
        size = self._batch_size.value
        num_free = size - len(self._rows)
        is_enough = num_free >= max(1, round(REFILL_FRACTION * size))
        joining = list(islice(self._waiting, num_free)) if is_enough or not self._rows else []
        start, num_rows = time.perf_counter(), len(self._rows)
        try:
            done = self._begin(joining) if joining else self._step()
        except RuntimeError as error:
            if num_rows + len(joining) == 1 or not should_reduce_batch_size(error):
                raise
        else:
            for _ in joining:
                self._waiting.popleft()
            if not joining:
                self._batch_size.measured(num_rows, num_rows, time.perf_counter() - start)
            return done
        self._batch_size.failed(num_rows + len(joining))
        # a pass that did not end leaves a cache of which nobody knows what it holds
        unfinished = {row.place: row.prompt for row in (*self._rows, *self._waiting)}
        self._waiting = deque(_Row(place, prompt) for place, prompt in unfinished.items())
        self._rows, self._cache = [], None
        clear_device_cache(garbage_collection=True)
        return []

    def _begin(self, rows: list[_Row]) -> list[_Row]:
        """Read prompts and let them join those that are being written; returns what ends there."""
        width = max(len(row.prompt) for row in rows)
        # what stands in place of padding is hidden
        ids = torch.tensor([[0] * (width - len(row.prompt)) + list(row.prompt) for row in rows])
        first = torch.tensor([width - len(row.prompt) for row in rows])
        cache = empty_cache(self._model)
        going, done = self._append(rows, self._read(ids, first, width, cache))
        if not going:
            return done
        if done:
            cache = select_rows(cache, [rows.index(row) for row in going])
        own, self._rows = self._rows, self._rows + going
        self._num_columns = max(row.num_read for row in self._rows)
        fit(cache, self._num_columns)
        if self._cache is None or not own:
            self._cache = cache
        else:
            fit(self._cache, self._num_columns)
            join(self._cache, cache)
        return done

    def _step(self) -> list[_Row]:
        """Write one more token in every row; returns the rows that end with it, which leave."""
        assert self._cache is not None  # there are rows
        ids = torch.tensor([row.written[-1:] for row in self._rows])
        first = torch.tensor([self._num_columns - row.num_read for row in self._rows])
        self._num_columns += 1
        logits = self._read(ids, first, self._num_columns, self._cache)
        going, done = self._append(self._rows, logits)
        if done:
            places = [self._rows.index(row) for row in going]
            self._rows = going
            self._cache = select_rows(self._cache, places) if going else None
        if done and self._cache is not None:
            self._num_columns = max(row.num_read for row in going)
            fit(self._cache, self._num_columns)
        return done

    def _read(
        self,
        ids: Int64[Tensor, "batch seq"],
        first: Int64[Tensor, " batch"],
        num_columns: int,
        cache: Cache,
    ) -> Float[Tensor, "batch vocab"]:
        """Read tokens behind a cache, which is changed in place.

        Args:
            ids: The last of each row is a token of it.
            first: Column of each row's first token.
            num_columns: With those in the cache.
            cache: Of the rows.

        Returns:
            Logits of what follows each row, float32 as `generate` of transformers compares them.
        """
        columns = torch.arange(num_columns)
        positions = (columns - first[:, None]).clamp(min=0)[:, -ids.shape[1] :]
        device, options = self._model.device, given(self._model, cache)
        if first.any():
            options["attention_mask"] = _mask(columns, first).to(device)
        if "position_ids" in self._takes:
            options["position_ids"] = positions.to(device)
        if "logits_to_keep" in self._takes:
            options["logits_to_keep"] = 1
        logits: Tensor = self._model(ids.to(device), **options).logits
        return logits[:, -1].float()

    def _append(
        self, rows: Sequence[_Row], logits: Float[Tensor, "batch vocab"]
    ) -> tuple[list[_Row], list[_Row]]:
        """Write a token in every row; returns the rows that go on, and those that end with it."""
        for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
            row.written.append(token)
        ends = [
            len(row.written) >= self._ending.max_tokens or row.written[-1] in self._ending.tokens
            for row in rows
        ]
        for num_tokens, phrases in self._ending.phrases.items():
            texts = self._tokenizer.batch_decode([row.written[-num_tokens:] for row in rows])
            for index, text in enumerate(texts):
                ends[index] = ends[index] or any(phrase in text for phrase in phrases)
        going = [row for row, has_ended in zip(rows, ends, strict=True) if not has_ended]
        return going, [row for row, has_ended in zip(rows, ends, strict=True) if has_ended]


def _mask(
    columns: Int64[Tensor, " columns"], first: Int64[Tensor, " batch"]
) -> Int64[Tensor, "batch columns"]:
    """1 from each row's first token on."""
    shown: Bool[Tensor, "batch columns"] = columns >= first[:, None]
    return shown.long()
