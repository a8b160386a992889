"""What a resolvent layer remembers: the inputs of its convolution, its state, and how long it is.

transformers' own layer for recurrent states does not know how many positions it has seen, and a
cache of nothing but such layers cannot be asked, though `generate` does.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import (
    STATIC_LAYER_TYPE_MAPPING,
    CacheLayerMixin,
    LinearAttentionLayer,
)
from transformers.masking_utils import (
    LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING,
    create_recurrent_attention_mask,
)

LAYER_TYPE = "resolvent"
"""In `config.layer_types`."""


class ResolventCacheLayer(LinearAttentionLayer, CacheLayerMixin):  # type: ignore[override]
    """Of fixed size, whatever the length of the sequence.

    Args:
        max_cache_len: Of the attention layers beside it in a static cache; 0 in a dynamic one.
    """

    # being defined registers it as the dynamic layer of this type
    _layer_type = LAYER_TYPE

    def __init__(self, max_cache_len: int = 0, **_: Any) -> None:
        CacheLayerMixin.__init__(self)
        LinearAttentionLayer.__init__(self)
        self.max_cache_len = max_cache_len
        # a compiled step would be compiled again for every other integer
        self.cumulative_length: Any = torch.tensor(0) if max_cache_len else 0

    @property
    def state(self) -> Float[Tensor, "batch 4 channels"] | None:
        """The resolvent's state after the last position; None before the first."""
        return self.recurrent_states[0] if self.has_previous_state[0] else None

    def advance(self, state: Float[Tensor, "batch 4 channels"], num_positions: int) -> None:
        """Store the state after some more positions."""
        self.has_previous_state[0] = True
        self.update_recurrent_state(state)
        # in place: the tensor of a static cache keeps its address
        self.cumulative_length += num_positions

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """As transformers' layer, with the length of a static cache on the states' device."""
        LinearAttentionLayer.lazy_initialization(self, *args, **kwargs)
        state = self.recurrent_states[0]
        if not isinstance(state, Tensor):
            return
        # without a convolution nobody else notes it
        self.device: Any = state.device
        if isinstance(self.cumulative_length, Tensor):
            self.cumulative_length = self.cumulative_length.to(state.device)
            if not torch.compiler.is_compiling():
                torch._dynamo.mark_static_address(self.cumulative_length)

    def get_seq_length(self) -> int | Tensor:  # type: ignore[override]
        """Positions seen so far; of a static cache a tensor, as of transformers' own layers."""
        return self.cumulative_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys of attention layers, which ask the first layer."""
        if isinstance(self.cumulative_length, Tensor):
            return self.max_cache_len, 0
        return self.cumulative_length + query_length, 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        """Refuse: there are neither keys nor values."""
        raise NotImplementedError("a resolvent layer stores a state, no keys and values")

    def reset(self) -> None:
        """Forget everything."""
        LinearAttentionLayer.reset(self)
        # in place for a tensor, see `advance`
        self.cumulative_length *= 0

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse, unless nothing is to be removed: the state cannot be run backwards."""
        if tokens_to_remove:
            raise RuntimeError("a resolvent layer cannot forget its last positions")

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence of the batch."""
        self._map_states(lambda one: one.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some sequences of the batch."""
        self._map_states(lambda one: one[indices])

    def _map_states(self, change: Any) -> None:
        for states in (self.conv_states, self.recurrent_states):
            if isinstance(states[0], torch.Tensor):
                states[0] = change(states[0])


STATIC_LAYER_TYPE_MAPPING[LAYER_TYPE] = ResolventCacheLayer
LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[LAYER_TYPE] = create_recurrent_attention_mask
