"""Caches of many sequences with common beginnings, each part of which is kept once.

Keys and values stay where they were computed; a layer puts those of a sequence together, in memory
that the next layer uses again, when it is about to attend to them. Sequences of unequal length end
together: in front of the shorter ones there are zeros, which a mask hides.

Recurrent layers know no parts: their states are copied for everyone who goes on.
"""

import copy
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from sentinel_research.evaluation.caches import empty_cache, given, select_rows

# keeping more than a window is no harm: the mask hides it
_ATTENTION = (DynamicLayer, DynamicSlidingWindowLayer)
States = Float[Tensor, "batch heads seq width"]


class Part(NamedTuple):
    """What was read of a sequence at one time."""

    keys: Float[Tensor, "heads seq width"]
    values: Float[Tensor, "heads seq width"]


Path = tuple[Part, ...]
"""All parts of a sequence in one layer."""


class Past(NamedTuple):
    """Of one sequence, everything that others go on behind."""

    layers: tuple[Any, ...]
    """Of every layer a `Path`, or a layer of transformers with one row of states."""
    length: int
    """Tokens."""


NOTHING = Past((), 0)
"""Before the first token."""


class Scratch:
    """Memory that all layers of a model use in turns."""

    def __init__(self) -> None:
        self._blocks: dict[str, Tensor] = {}

    def take(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of any content, which is another's as soon as the name is taken again."""
        number = torch.Size(shape).numel()
        block = self._blocks.get(name)
        kind = like.dtype, like.device
        if block is None or block.numel() < number or (block.dtype, block.device) != kind:
            # the smaller one first, or both would be held for a moment
            self._blocks.pop(name, None)
            block = self._blocks[name] = like.new_empty(number)
        return block[:number].view(*shape)


class PathLayer(DynamicLayer):
    """Keys and values of sequences that go on behind parts that others go on behind too.

    Args:
        scratch: For what a layer attends to.
        paths: For every sequence the parts before it.
        lengths: For every sequence the tokens of these parts.
    """

    def __init__(self, scratch: Scratch, paths: Sequence[Path], lengths: Sequence[int]) -> None:
        super().__init__()
        self._scratch, self._paths, self._lengths = scratch, paths, lengths
        self._longest = max(lengths)

    def lazy_initialization(self, key_states: States, _: States) -> None:
        """As transformers' layer, but for the empty tensors."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(
        self, key_states: States, value_states: States, *_: Any, **__: Any
    ) -> tuple[States, States]:
        """Keep what is new; returns it behind what was there."""
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states, value_states
        if not self._longest:
            return key_states, value_states
        return self._behind("keys", key_states), self._behind("values", value_states)

    def get_seq_length(self) -> int:
        """Tokens of the longest sequence."""
        return self._longest + (0 if self.keys is None else self.keys.shape[-2])

    def path(self, row: int, length: int) -> Path:
        """The parts of a sequence of some tokens; what the last part has beyond is padding."""
        before = self._paths[row]
        # a layer that lost all of its heads was given nothing
        if self.keys is None or self.values is None:
            return before
        new = length - self._lengths[row]
        # copies: views would keep whatever else was computed in one tensor with them
        last = Part(*(one[row, :, :new].clone() for one in (self.keys, self.values)))
        return (*before, last)

    def _behind(self, name: str, new: States) -> States:
        batch, heads, length, width = new.shape
        whole = self._scratch.take(name, (batch, heads, self._longest + length, width), new)
        whole[:, :, self._longest :] = new
        for row, (path, known) in enumerate(zip(self._paths, self._lengths, strict=True)):
            start = self._longest - known
            whole[row, :, :start] = 0
            for part in path:
                states: Tensor = getattr(part, name)
                whole[row, :, start : start + states.shape[-2]] = states
                start += states.shape[-2]
        return whole


class PathCaches:
    """Makes the caches of a model.

    Args:
        model: With a cache.

    Attributes:
        has_states: Whether there are states, which padding would change.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self._scratch = model, Scratch()
        kinds = [type(layer) for layer in empty_cache(model).layers]
        self._has_paths = any(kind in _ATTENTION for kind in kinds)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._path_bytes, self._state_bytes = 0.0, 0
        self.has_states = any(kind not in _ATTENTION for kind in kinds)

    def behind(self, pasts: Sequence[Past]) -> Cache:
        """A cache of sequences, which others go on behind or nobody."""
        lengths = [past.length for past in pasts]
        found = empty_cache(self._model)
        for place, layer in enumerate(found.layers):
            own: list[Any] = [past.layers[place] if past.layers else () for past in pasts]
            if type(layer) in _ATTENTION:
                found.layers[place] = PathLayer(self._scratch, own, lengths)
            elif lengths[0]:
                found.layers[place] = _joined(own)
        return found

    def past(self, cache: Cache, row: int, length: int) -> Past:
        """What others go on behind.

        Args:
            cache: Made by `behind`, and read with since.
            row: Of a sequence.
            length: Its tokens, without padding.
        """
        every: list[Any] = cache.layers
        one = select_rows(Cache(layers=[x for x in every if not _is_path(x)]), [row])
        states = iter(one.layers)
        layers = tuple(x.path(row, length) if _is_path(x) else next(states) for x in every)
        last = [layer[-1] for layer in layers if isinstance(layer, tuple) and layer]
        self._path_bytes = sum(_bytes_of(part) / part.keys.shape[1] for part in last)
        self._state_bytes = sum(map(_bytes_of, map(_states, one.layers)))
        return Past(layers, length)

    def num_bytes(self, num_tokens: int) -> float:
        """What a past takes whose last part has some tokens; 0 before the first was made."""
        return self._path_bytes * num_tokens + self._state_bytes

    def given(self, cache: Cache, lengths: Sequence[int], num_new: int) -> dict[str, Any]:
        """What `forward` is told of new tokens and the sequences that they continue.

        Args:
            cache: Made by `behind`.
            lengths: Tokens of each of these sequences.
            num_new: New tokens of each.
        """
        options = given(self._model, cache)
        if len(set(lengths)) == 1 or not self._has_paths:
            return options
        before = torch.tensor(lengths, device=self._model.device)[:, None]
        longest = max(lengths)
        places = torch.arange(longest + num_new, device=self._model.device)
        options["attention_mask"] = (places >= longest - before).long()
        # the others take positions from the mask
        if self._takes_positions:
            options["position_ids"] = before + places[:num_new]
        return options


def _is_path(layer: Any) -> bool:
    return isinstance(layer, PathLayer)


def _joined(layers: Sequence[Any]) -> Any:
    """Several layers of recurrent states as one, in which their sequences follow each other."""
    found = copy.copy(layers[0])
    for name in ("conv_states", "recurrent_states"):
        states = [getattr(layer, name) for layer in layers]
        setattr(
            found, name, {key: _concatenated([one[key] for one in states]) for key in states[0]}
        )
    return found


def _concatenated(states: Sequence[Tensor | None]) -> Tensor | None:
    held = [one for one in states if one is not None]
    return torch.cat(held) if held else None


def _states(layer: Any) -> list[Tensor]:
    found = [*layer.conv_states.values(), *layer.recurrent_states.values()]
    return [one for one in found if one is not None]


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(one.nbytes for one in tensors)
