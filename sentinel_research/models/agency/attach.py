"""Put gates into a model of a known family, and find the gates of any model.

A gate is a submodule of the attention block, so that its tensors are parameters and buffers of the
model; hooks bring it what attention reads and put what it returns in front of the output
projection. The hooks hold no tensor between two forward passes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from sentinel_research.models.agency.gate import HeadGate
from sentinel_research.models.anatomy import ANATOMIES, anatomy_of, family_of
from sentinel_research.models.hooks import StoredHook
from sentinel_research.models.layout import attention_windows, structure_of
from sentinel_research.specs import AgencySpec

GATE_NAME = "head_gate"
# what mixers of our own call their output projection
OUTPUT_NAME = "o_proj"


class GateHook(StoredHook):
    """Hooks of one attention block. A class, so that they survive `copy.deepcopy`."""

    def __init__(self, gate: HeadGate) -> None:
        self.gate = gate
        self._layer_input: Tensor | None = None

    def read(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the attention block: keep what it reads."""
        self._layer_input = args[0] if args else kwargs["hidden_states"]

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """Forward pre-hook of the output projection: gate what it reads."""
        layer_input, self._layer_input = self._layer_input, None
        return (self.gate(args[0], layer_input),)


class GatedLayer(NamedTuple):
    """Where one gate stands."""

    layer: int
    """Index of the layer."""
    heads: tuple[int, ...]
    """Original indices of its heads."""
    gate: HeadGate
    """The gate."""
    attention: nn.Module
    """The attention block that it stands in."""
    output: nn.Module
    """The output projection behind it."""
    rows_first: bool
    """True if the projection's weight is [in, out]."""
    window: int | None
    """Keys that a row of attention sees at most; None if there is no limit."""


def attach_gates(model: PreTrainedModel, spec: AgencySpec) -> None:
    """Add a gate to every layer that has heads, in place.

    Args:
        model: Of a known family, without gates.
        spec: With a gate.
    """
    row, structure = anatomy_of(model.config), structure_of(model.config)
    for layer, attention in enumerate(row.attentions(model)):
        num_heads = len(structure.layers[layer].heads)
        if not num_heads:
            continue
        gate = HeadGate(num_heads, structure.head_dim, structure.hidden_size, spec)
        attach_gate(attention, row.output, gate)


def attach_gate(attention: nn.Module, output: str, gate: HeadGate) -> None:
    """Put a gate between the heads of one attention block and its output projection, in place.

    Args:
        attention: The block; it reads the layer's input as its first argument, or by name.
        output: Its output projection.
        gate: For its heads.
    """
    attention.add_module(GATE_NAME, gate)
    hook = GateHook(gate)
    if gate.reads_layer_input:
        attention.register_forward_pre_hook(hook.read, with_kwargs=True)
    attention.get_submodule(output).register_forward_pre_hook(hook)


def gated_layers(model: nn.Module, config: PretrainedConfig) -> list[GatedLayer]:
    """All gates of a model, in layer order; models without gates have none.

    Args:
        model: Of a known family with gates attached, or one of ours whose mixers hold gates.
        config: Its configuration.
    """
    is_known = family_of(config) in ANATOMIES
    windows = (
        attention_windows(config)
        if is_known
        else [getattr(config, "sliding_window", None)] * config.num_hidden_layers
    )
    return [
        GatedLayer(
            layer=layer,
            heads=_heads(config, layer, gate),
            gate=gate,
            attention=attention,
            output=attention.get_submodule(anatomy_of(config).output if is_known else OUTPUT_NAME),
            rows_first=is_known and anatomy_of(config).output_axis == 0,
            window=windows[layer],
        )
        for layer, attention, gate in _gates(model)
    ]


def _gates(model: nn.Module) -> Iterator[tuple[int, nn.Module, HeadGate]]:
    for path, module in model.named_modules():
        if isinstance(module, HeadGate):
            parents = path.split(".")[:-1]
            # the last number in a path is that of the layer
            layer = next(int(part) for part in reversed(parents) if part.isdigit())
            yield layer, model.get_submodule(".".join(parents)), module


def _heads(config: PretrainedConfig, layer: int, gate: HeadGate) -> tuple[int, ...]:
    if family_of(config) in ANATOMIES:
        return structure_of(config).layers[layer].heads
    return tuple(range(gate.num_heads))
