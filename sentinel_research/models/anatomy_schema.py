"""What a row of the table of model families says; the table is `anatomy`, with the glossary."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel

Part = Literal["query", "key", "value"]
Flag = bool | str
"""A constant, or the configuration key that holds it."""


@dataclass(frozen=True)
class Projection:
    """One input projection of an attention module."""

    name: str
    """Attribute of the attention module."""
    parts: tuple[Part, ...]
    """What the output holds, in order."""
    interleaved: bool = False
    """False: one block per part, heads follow each other inside it (`[part, head, D]`). True: one
    block per head, parts follow each other inside it (`[head, part, D]`)."""


@dataclass(frozen=True)
class Anatomy:
    """How one model family lays out its decoder layers."""

    family: str
    """transformers' `model_type` of the dense model."""
    layers: str
    """Path of the list of decoder layers."""
    attention: str
    """Attention module inside a decoder layer."""
    inputs: tuple[Projection, ...]
    """Projections from the hidden state, inside the attention module."""
    output: str
    """Projection from the concatenated heads back to the hidden state."""
    ffn: str
    """Feed-forward module inside a decoder layer; empty if its projections sit in the layer."""
    ffn_inputs: tuple[str, ...]
    """Projections from the hidden state to the neurons."""
    ffn_output: str
    """Projection from the neurons back to the hidden state."""
    attention_norm: str
    """Norm in front of the attention block, inside a decoder layer."""
    ffn_norm: str
    """Norm in front of the feed-forward block."""
    weight: Literal["linear", "conv1d"] = "linear"
    """`linear`: weights are [out, in] (nn.Linear); `conv1d`: [in, out] (transformers' Conv1D)."""
    num_kv_heads_key: str | None = None
    """Configuration key of the number of key/value heads; None for multi-head attention."""
    intermediate_key: str | None = None
    """Configuration key of the number of neurons; where it is None or unset, 4 * hidden size."""
    attention_input_bias: Flag = True
    """Whether the query, key and value projections have biases."""
    attention_output_bias: Flag = True
    """Whether the attention output projection has a bias."""
    ffn_bias: Flag = True
    """Whether the feed-forward projections have biases."""
    norm_vectors: Literal[1, 2] = 2
    """Vectors of size E in a norm: 2 for LayerNorm, 1 for RMSNorm."""
    norm_affine: Flag = True
    """Whether norms have parameters."""
    norm_stays: tuple[str, bool] | None = None
    """Configuration key and value under which the norm is not part of its block, and stays."""
    width_attributes: tuple[str, ...] = ()
    """Attributes of the attention module that equal heads * head width."""
    count_attributes: tuple[str, ...] = ()
    """Attributes of the attention module that equal the number of query heads."""
    group_attribute: str | None = None
    """Attribute that equals query heads per key/value head."""
    dropout_key: str | None = None
    """Configuration key of the dropout that follows the attention output inside the module."""
    has_slopes: bool = False
    """True if heads carry ALiBi slopes, which belong to original head indices."""
    context_key: str | None = "max_position_embeddings"
    """Configuration key of the longest sequence; None if there is no limit."""
    window_key: str | None = None
    """Configuration key of the attention window; None if a row sees all keys before it."""
    layer_types_key: str | None = None
    """Configuration key of the layers' kinds, of which `sliding_attention` has the window; None if
    all layers have it."""
    unsupported: tuple[tuple[str, Any], ...] = ()
    """Configuration keys and values that nothing here handles."""

    @property
    def input_axis(self) -> int:
        """Axis of an input projection's weight that runs over units."""
        return 0 if self.weight == "linear" else 1

    @property
    def output_axis(self) -> int:
        """Axis of an output projection's weight that runs over units."""
        return 1 - self.input_axis

    def attention_path(self, layer: int) -> str:
        """Module path of the attention of one layer, as in state-dict keys."""
        return f"{self.layers}.{layer}.{self.attention}"

    def ffn_path(self, layer: int) -> str:
        """Module path that the feed-forward projections of one layer sit in."""
        return f"{self.layers}.{layer}.{self.ffn}".removesuffix(".")

    def output_path(self, layer: int, block: Literal["attention", "ffn"]) -> str:
        """Module path of the output projection of one block."""
        if block == "attention":
            return f"{self.attention_path(layer)}.{self.output}"
        return f"{self.ffn_path(layer)}.{self.ffn_output}"

    def input_paths(self, layer: int, block: Literal["attention", "ffn"]) -> list[str]:
        """Module paths of the input projections of one block."""
        if block == "attention":
            return [f"{self.attention_path(layer)}.{p.name}" for p in self.inputs]
        return [f"{self.ffn_path(layer)}.{name}" for name in self.ffn_inputs]

    def norm_path(self, layer: int, block: Literal["attention", "ffn"]) -> str:
        """Module path of the norm in front of one block."""
        name = self.attention_norm if block == "attention" else self.ffn_norm
        return f"{self.layers}.{layer}.{name}"

    def attentions(self, model: PreTrainedModel) -> list[nn.Module]:
        """The attention modules of a model, in layer order."""
        return [model.get_submodule(self.attention_path(layer)) for layer in self._layers_of(model)]

    def outputs(
        self, model: PreTrainedModel, block: Literal["attention", "ffn"]
    ) -> list[nn.Module]:
        """The output projections of one block of a model, in layer order."""
        paths = [self.output_path(layer, block) for layer in self._layers_of(model)]
        return [model.get_submodule(path) for path in paths]

    def _layers_of(self, model: PreTrainedModel) -> range:
        return range(len(list(model.get_submodule(self.layers).children())))
