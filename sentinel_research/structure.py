"""What a decoder is made of: which heads, neurons and blocks each layer still has. Pure data.

Parameters and operations follow from it in closed form, so a plan can say what it will remove
before any weight is touched.

Glossary: `E` is the hidden size, `D` the width of a head, `T` the number of positions. A KV group
is a key/value head with the query heads that read it [1]; in multi-head attention every head is its
own group. A neuron is one unit of a feed-forward block: a row of every input projection and a
column of the output projection. A block is the attention or the feed-forward half of a layer.
"Original" indices are those of the dense model, "local" ones count what is still there.

Reference: [1] Ainslie et al. 2023, GQA, https://arxiv.org/abs/2305.13245.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, model_validator
from typing_extensions import Self

from sentinel_research.specs import Spec

UnitKind = Literal["head", "neuron", "attention", "ffn"]
UNIT_KINDS: tuple[UnitKind, ...] = ("head", "neuron", "attention", "ffn")
_LETTER = {"head": "H", "neuron": "N"}

Indices = Annotated[tuple[int, ...], PlainSerializer(list, when_used="json")]


class LayerParts(Spec):
    """What one layer still has, by original index."""

    heads: Indices
    """Query heads, ascending."""
    neurons: Indices
    """Feed-forward neurons, ascending."""
    has_attention: bool = True
    """False if the whole attention block is gone, output bias and norm included."""
    has_ffn: bool = True
    """False if the whole feed-forward block is gone, output bias and norm included."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for block, units, name in (
            (self.has_attention, self.heads, "heads"),
            (self.has_ffn, self.neurons, "neurons"),
        ):
            if not block and units:
                raise ValueError(f"a block that is gone cannot keep {name} {list(units)}")
            if any(a >= b for a, b in itertools.pairwise(units)):
                raise ValueError(f"{name} must be ascending and unique, got {list(units)}")
        return self

    def units(self, kind: UnitKind) -> tuple[int, ...]:
        """Original indices of the units of one kind; a block that is there is unit 0."""
        if kind == "head":
            return self.heads
        if kind == "neuron":
            return self.neurons
        return (0,) if (self.has_attention if kind == "attention" else self.has_ffn) else ()


class Structure(Spec):
    """The prunable parts of a decoder."""

    family: str
    """transformers' `model_type` of the dense model."""
    num_heads: int = Field(gt=0)
    """Query heads per layer of the dense model."""
    num_kv_heads: int = Field(gt=0)
    """Key/value heads per layer of the dense model."""
    head_dim: int = Field(gt=0)
    """Width of a head."""
    hidden_size: int = Field(gt=0)
    """Width of the residual stream."""
    intermediate_size: int = Field(gt=0)
    """Feed-forward neurons per layer of the dense model."""
    num_ffn_inputs: Literal[1, 2]
    """Input projections of the feed-forward block; 2 for gated ones."""
    attention_input_bias: bool
    """True if the query, key and value projections carry biases."""
    attention_output_bias: bool
    """True if the attention output projection carries a bias."""
    ffn_input_bias: bool
    """True if the input projections of the feed-forward block carry biases."""
    ffn_output_bias: bool
    """True if the output projection of the feed-forward block carries a bias."""
    norm_parameters: int = Field(ge=0)
    """Parameters of the norm that goes with a removed block; 0 if the norm has to stay."""
    gate_parameters: int = Field(default=0, ge=0)
    """Parameters of the gate of one head; 0 without gates."""
    layers: tuple[LayerParts, ...] = Field(min_length=1)
    """What each layer still has."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.num_heads} query heads do not divide into {self.num_kv_heads} KV groups"
            )
        for index, layer in enumerate(self.layers):
            for kind, limit in (("head", self.num_heads), ("neuron", self.intermediate_size)):
                units = layer.units(kind)  # type: ignore[arg-type]
                # they are ascending
                if units and (units[0] < 0 or units[-1] >= limit):
                    outside = units[0] if units[0] < 0 else units[-1]
                    raise ValueError(
                        f"layer {index} names {kind} {outside}; "
                        f"{kind}s are numbered 0 to {limit - 1}"
                    )
        return self

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.layers)

    @property
    def group_size(self) -> int:
        """Query heads per KV group of the dense model."""
        return self.num_heads // self.num_kv_heads

    def num_units(self, kind: UnitKind | Literal["kv_group", "layer"]) -> tuple[int, ...]:
        """Units of one kind that each layer still has; a layer is one while a block is there."""
        if kind == "kv_group":
            return tuple(len(self.kv_heads(layer)) for layer in range(self.num_layers))
        if kind == "layer":
            return tuple(int(layer.has_attention or layer.has_ffn) for layer in self.layers)
        return tuple(len(layer.units(kind)) for layer in self.layers)

    def kv_heads(self, layer: int) -> tuple[int, ...]:
        """Original indices of the KV groups of a layer that still have a query head, ascending."""
        return tuple(sorted({head // self.group_size for head in self.layers[layer].heads}))

    def group_sizes(self, layer: int) -> tuple[int, ...]:
        """Query heads of each surviving KV group of a layer, in the order of `kv_heads`."""
        groups = [head // self.group_size for head in self.layers[layer].heads]
        return tuple(groups.count(group) for group in self.kv_heads(layer))

    def is_ragged(self, layer: int) -> bool:
        """True if the KV groups of a layer have unequal numbers of query heads."""
        return len(set(self.group_sizes(layer))) > 1

    @property
    def is_dense(self) -> bool:
        """True if nothing has been removed yet."""
        full = dense_layer(self.num_heads, self.intermediate_size)
        return all(layer == full for layer in self.layers)

    def reduced_to(self, layers: Sequence[LayerParts]) -> "Structure":
        """The same decoder with only `layers` left."""
        return self.model_copy(update={"layers": tuple(layers)})

    @property
    def head_parameters(self) -> int:
        """Parameters that go with one query head: query rows, output columns, and its gate."""
        rows = 2 * self.hidden_size * self.head_dim + self.head_dim * self.attention_input_bias
        return rows + self.gate_parameters

    @property
    def kv_head_parameters(self) -> int:
        """Parameters that go with one key/value head: its key rows and its value rows."""
        return 2 * self.head_dim * (self.hidden_size + self.attention_input_bias)

    @property
    def neuron_parameters(self) -> int:
        """Parameters that go with one neuron."""
        return self.hidden_size * (self.num_ffn_inputs + 1) + (
            self.num_ffn_inputs * self.ffn_input_bias
        )

    def num_parameters(self) -> int:
        """Parameters of all blocks, their norms included: what would go with every block.

        A head of multi-head attention is 4*E*D + 3*D*[bias]; a query head of grouped-query
        attention 2*E*D + D*[bias], and 2*E*D + 2*D*[bias] more go with the last one of its group.
        """
        total = 0
        for index, layer in enumerate(self.layers):
            total += len(layer.heads) * self.head_parameters
            total += len(self.kv_heads(index)) * self.kv_head_parameters
            total += len(layer.neurons) * self.neuron_parameters
            for present, bias in (
                (layer.has_attention, self.attention_output_bias),
                (layer.has_ffn, self.ffn_output_bias),
            ):
                total += present * (self.hidden_size * bias + self.norm_parameters)
        return total

    def flops_per_token(self, sequence_length: int) -> float:
        """Operations of all projections and attention products in a forward pass, per token.

        Full (not causal) attention as eager kernels compute it; a multiply-add counts two:
        `4*E*D + 4*T*D` per query head, `4*E*D` per key/value head, `2*E*(inputs + 1)` per neuron.

        Args:
            sequence_length: `T`, tokens of the sequence.
        """
        head = 4 * self.head_dim * (self.hidden_size + sequence_length)
        kv_head = 4 * self.head_dim * self.hidden_size
        neuron = 2 * self.hidden_size * (self.num_ffn_inputs + 1)
        return float(
            sum(
                len(layer.heads) * head
                + len(self.kv_heads(index)) * kv_head
                + len(layer.neurons) * neuron
                for index, layer in enumerate(self.layers)
            )
        )


def dense_layer(num_heads: int, intermediate_size: int) -> LayerParts:
    """A layer from which nothing is missing."""
    return LayerParts(heads=tuple(range(num_heads)), neurons=tuple(range(intermediate_size)))


def label(layer: int, kind: UnitKind, unit: int) -> str:
    """How a unit is printed: `L3H7`, `L3N12`, `L3.attention`, `L3.ffn`."""
    return f"L{layer}{_LETTER[kind]}{unit}" if kind in _LETTER else f"L{layer}.{kind}"
