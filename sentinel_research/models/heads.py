"""Which attention heads a model has, and how many parameters go with them.

Glossary: "original" indices are those of the dense model that a model was pruned from; "local"
indices count the heads that are still there. `E` is the hidden size, `D` the width of a head. A KV
group is a key/value head with the query heads that read it.

Reference: [1] Ainslie et al. 2023, GQA, https://arxiv.org/abs/2305.13245.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PretrainedConfig

from sentinel_research.errors import CheckpointError
from sentinel_research.models.anatomy import PRUNED_PREFIX, Projection, anatomy_of


@dataclass(frozen=True)
class Heads:
    """The attention heads that a model has, by original index."""

    family: str
    """transformers' `model_type` of the dense model."""
    kept: tuple[tuple[int, ...], ...]
    """For each layer the original indices of its query heads, ascending."""
    num_heads: int
    """Query heads per layer of the dense model."""
    num_kv_heads: int
    """Key/value heads per layer of the dense model."""
    head_dim: int
    """Width of a head."""
    hidden_size: int
    """Width of the residual stream."""
    has_bias: bool
    """True if the input projections carry biases."""

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.kept)

    @property
    def group_size(self) -> int:
        """Query heads per KV group of the dense model."""
        return self.num_heads // self.num_kv_heads

    @property
    def num_heads_per_layer(self) -> tuple[int, ...]:
        """Query heads that each layer still has."""
        return tuple(len(heads) for heads in self.kept)

    @property
    def parameters_per_head(self) -> int:
        """Parameters that go with one query head: its query rows and its output columns."""
        return 2 * self.hidden_size * self.head_dim + self.head_dim * self.has_bias

    @property
    def parameters_per_kv_head(self) -> int:
        """Parameters that go with one key/value head: its key rows and its value rows."""
        return 2 * self.hidden_size * self.head_dim + 2 * self.head_dim * self.has_bias

    def kv_kept(self, layer: int) -> tuple[int, ...]:
        """Original indices of the KV groups of a layer that still have a query head, ascending."""
        return tuple(sorted({head // self.group_size for head in self.kept[layer]}))

    def group_sizes(self, layer: int) -> tuple[int, ...]:
        """Query heads of each surviving KV group of a layer, in the order of `kv_kept`."""
        groups = [head // self.group_size for head in self.kept[layer]]
        return tuple(groups.count(group) for group in self.kv_kept(layer))

    def is_ragged(self, layer: int) -> bool:
        """True if the KV groups of a layer have unequal numbers of query heads."""
        return len(set(self.group_sizes(layer))) > 1

    def num_parameters(self) -> int:
        """Parameters of all heads: what would go if every head were removed.

        For multi-head attention this is heads * (4*E*D + 3*D*[bias]).
        """
        num_heads = sum(self.num_heads_per_layer)
        num_kv_heads = sum(len(self.kv_kept(layer)) for layer in range(self.num_layers))
        return num_heads * self.parameters_per_head + num_kv_heads * self.parameters_per_kv_head

    def rows(
        self, layer: int, projection: Projection, queries: Sequence[int], kvs: Sequence[int]
    ) -> Int[Tensor, " rows"]:
        """Where heads lie along the output of an input projection.

        Args:
            layer: Layer index.
            projection: One of the family's input projections.
            queries: Local indices of query heads, in the order wanted.
            kvs: Local indices of key/value heads, in the order wanted.

        Returns:
            Row indices into the projection as it is now.
        """
        offset, rows = 0, []
        for part in projection.parts:
            picked = queries if part == "query" else kvs
            count = len(self.kept[layer]) if part == "query" else len(self.kv_kept(layer))
            rows += [
                offset + head * self.head_dim + i for head in picked for i in range(self.head_dim)
            ]
            offset += count * self.head_dim
        return torch.tensor(rows, dtype=torch.long)

    def columns(self, queries: Sequence[int]) -> Int[Tensor, " columns"]:
        """Where query heads (local indices) lie along the input of the output projection."""
        return torch.tensor(
            [head * self.head_dim + i for head in queries for i in range(self.head_dim)],
            dtype=torch.long,
        )

    def reduced_to(self, kept: tuple[tuple[int, ...], ...]) -> "Heads":
        """The same heads with only `kept` (original indices) left."""
        return replace(self, kept=tuple(tuple(sorted(heads)) for heads in kept))

    def labels(self) -> Iterator[str]:
        """`L3H7` for every head that is there, by original index."""
        for layer, heads in enumerate(self.kept):
            for head in heads:
                yield f"L{layer}H{head}"


def heads_of(config: PretrainedConfig) -> Heads:
    """Read from a configuration which heads the model has.

    Args:
        config: Of a dense or a pruned model of a known family.

    Returns:
        Its heads; a pruned model's are the original indices that its configuration carries.

    Raises:
        UsageError: if the family is unknown.
        CheckpointError: if a pruned model's configuration does not say which heads it has.
    """
    row = anatomy_of(config)
    num_heads = config.num_attention_heads
    num_layers = config.num_hidden_layers
    if config.model_type.startswith(PRUNED_PREFIX):
        if not config.is_heterogeneous:
            raise CheckpointError(
                f"configuration of type '{config.model_type}' names no heads",
                "It needs `kept_heads` for every layer under `per_layer_config`.",
            )
        kept = tuple(tuple(layer.kept_heads) for layer in config.per_layer_config)
    else:
        kept = (tuple(range(num_heads)),) * num_layers
    return Heads(
        family=row.family,
        kept=kept,
        num_heads=num_heads,
        num_kv_heads=getattr(config, row.num_kv_heads_key) if row.num_kv_heads_key else num_heads,
        head_dim=(
            getattr(config, row.head_dim_key)
            if row.head_dim_key
            else config.hidden_size // num_heads
        ),
        hidden_size=config.hidden_size,
        has_bias=getattr(config, row.bias_key) if row.bias_key else True,
    )
