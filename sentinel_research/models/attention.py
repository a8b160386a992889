"""Pruned layers: unequal query heads per KV group, kept slopes, layers without heads or neurons.

Unequal groups. Grouped-query attention [1] in transformers repeats every key/value head equally
often. After pruning single query heads that no longer holds, so keys and values are expanded to the
surviving query heads inside a registered attention function. The key/value cache still holds one
entry per surviving group, and the parameters fall by exactly the removed rows. (Storing one
key/value head per query head instead would let both grow.)

No heads. Such a layer adds the bias of its output projection and nothing else. It still tells the
cache how many positions went by: transformers asks layer 0 for the length of the past, and an
empty layer 0 would restart positions at zero, without an error.

Glossary: `B` batch, `K` surviving key/value heads, `H` surviving query heads, `T` positions,
`D` head width.

Reference: [1] Ainslie et al. 2023, GQA, https://arxiv.org/abs/2305.13245.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, BloomConfig
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask
from transformers.models.bloom.modeling_bloom import BloomAttention
from transformers.models.llama.modeling_llama import eager_attention_forward

from sentinel_research.errors import UsageError

RAGGED_PREFIX = "ragged_"
_BASES: dict[str, Callable[..., Any]] = {
    "sdpa": sdpa_attention_forward,
    "eager": eager_attention_forward,
}


def expand_groups(
    states: Float[Tensor, "batch kv_heads time dim"], group_sizes: tuple[int, ...]
) -> Float[Tensor, "batch heads time dim"]:
    """Repeat every key/value head as often as it has query heads.

    Args:
        states: Keys or values, one per surviving KV group.
        group_sizes: Query heads of each group; their sum is the number of query heads.

    Returns:
        Keys or values, one per query head, in the order of the query heads.
    """
    if states.shape[1] != len(group_sizes):
        raise ValueError(f"{states.shape[1]} key/value heads, but {len(group_sizes)} group sizes")
    # slices and views only: no index tensor has to follow the model from device to device
    return torch.cat(
        [
            states[:, group : group + 1].expand(-1, size, -1, -1)
            for group, size in enumerate(group_sizes)
        ],
        dim=1,
    )  # [B, H, T, D]


def _ragged(base: str) -> Any:
    attend = _BASES[base]

    def forward(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        group_sizes = cast("tuple[int, ...]", module.ragged_group_sizes)
        if group_sizes:
            key = expand_groups(key, group_sizes)
            value = expand_groups(value, group_sizes)
        return cast(
            "tuple[Tensor, Tensor | None]",
            attend(module, query, key, value, attention_mask, **kwargs),
        )

    return forward


def register_ragged_attention() -> None:
    """Make `ragged_sdpa` and `ragged_eager` known to transformers."""
    for name, mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
        AttentionInterface.register(RAGGED_PREFIX + name, _ragged(name))
        AttentionMaskInterface.register(RAGGED_PREFIX + name, mask)


def attention_name(requested: str, *, is_ragged: bool) -> str:
    """The registered attention implementation for a pruned model.

    Args:
        requested: What transformers would use: `sdpa`, `eager`, or a name of this module.
        is_ragged: True if any layer has unequal KV groups.

    Returns:
        `requested` for equal groups, its ragged counterpart otherwise.

    Raises:
        UsageError: if the groups are unequal and there is no such counterpart.
    """
    base = requested.removeprefix(RAGGED_PREFIX)
    if not is_ragged:
        return base
    if base not in _BASES:
        raise UsageError(
            f"attention implementation '{requested}' needs equally many query heads per KV group, "
            "and this pruned model has unequal groups",
            f"Use one of: {', '.join(sorted(_BASES))}. Or prune with granularity 'kv_group'.",
        )
    return RAGGED_PREFIX + base


class OutputBias(nn.Module):
    """What is left of an output projection without inputs: its bias."""

    def __init__(self, hidden_size: int, has_bias: bool) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if has_bias else None

    def forward(
        self, hidden_states: Float[Tensor, "*batch inputs"]
    ) -> Float[Tensor, "*batch hidden"]:
        """The bias at every position; zeros if there is none."""
        out = hidden_states.new_zeros(*hidden_states.shape[:-1], self.hidden_size)
        return out if self.bias is None else out + self.bias


class EmptyAttention(nn.Module):
    """Attention of a layer whose heads, or whose whole attention block, are gone.

    Under `output_attentions=True` such a layer contributes no entry, so that later layers move up.

    Args:
        layer_idx: Index of the layer, for the cache.
        hidden_size: Width of the residual stream.
        output: Name of the output projection, so that its bias keeps its name in a state dict.
        has_bias: True if that projection has a bias that is still there.
        dropout: Probability of the dropout that follows the projection.
    """

    def __init__(
        self, layer_idx: int, hidden_size: int, output: str, has_bias: bool, dropout: float
    ) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.output = output
        self.add_module(output, OutputBias(hidden_size, has_bias))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time hidden"],
        residual: Float[Tensor, "batch time hidden"] | None = None,
        past_key_values: Cache | None = None,
        layer_past: Cache | None = None,
        **_: Any,
    ) -> tuple[Float[Tensor, "batch time hidden"], None]:
        """The output projection's bias at every position, after counting positions in the cache.

        Families differ in the name of the cache, and BLOOM adds the residual stream in here.
        """
        cache = past_key_values if past_key_values is not None else layer_past
        if cache is not None:
            placeholder = hidden_states.new_zeros(*hidden_states.shape[:2], 1).unsqueeze(1)
            cache.update(placeholder, placeholder, self.layer_idx)  # [B, 1, T, 1]
        out = self.dropout(self.get_submodule(self.output)(hidden_states))
        return (out if residual is None else residual + out), None


class NoNeurons(nn.Module):
    """Input projection of a feed-forward block without neurons."""

    def forward(
        self, hidden_states: Float[Tensor, "*batch hidden"]
    ) -> Float[Tensor, "*batch neurons"]:
        """No neuron at every position."""
        return hidden_states[..., :0]


class KeptSlopesAttention(BloomAttention):
    """BLOOM attention with fewer heads: each keeps the ALiBi slope of its original index.

    The model computes one bias for all heads of the dense model; this layer picks its own.
    """

    def __init__(self, config: BloomConfig, layer_idx: int, kept_heads: tuple[int, ...]) -> None:
        super().__init__(config, layer_idx)
        self.num_dense_heads = config.n_head
        self.kept_heads = kept_heads

    def forward(
        self, hidden_states: Tensor, residual: Tensor, alibi: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """BLOOM's own forward pass with the kept heads' slopes."""
        slopes = alibi.unflatten(0, (-1, self.num_dense_heads))  # [B, H, 1, T]
        if self.kept_heads != tuple(range(self.num_dense_heads)):
            slopes = torch.stack([slopes[:, head] for head in self.kept_heads], dim=1)
        return super().forward(hidden_states, residual, slopes.flatten(0, 1), *args, **kwargs)
