"""Multiply each unit's output by a gate: the one mechanism behind masks and gradients.

The output of an attention block is `sum_h gate_h * (a_h W_h) + b`, where `a_h` is what head `h`
hands to its slice `W_h` of the output projection, and that of a feed-forward block is the same sum
over neurons. A forward pre-hook on the projection scales `a_h`, so a gate works under any attention
implementation, is differentiable, and leaves the bias alone. A forward hook scales what the
projection returns, bias included: the gate of the whole block. A gate of 1 changes no bit; a gate
of 0 is the unit's removal.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 2.2,
https://arxiv.org/abs/1905.10650.
"""

import copy
from collections.abc import Mapping, Sequence
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.layout_check import check_layout
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.units import owners
from sentinel_research.structure import UNIT_KINDS, Structure, UnitKind

Gates = Mapping[UnitKind, Sequence[Tensor]]


def scale_units(hidden: Tensor, gate: Tensor, width: int) -> Tensor:
    """Multiply runs of `width` channels by their unit's gate.

    Args:
        hidden: [batch, time, units * width] or [batch * time, units * width] (OPT's).
        gate: [units], or [batch, units] for gates of single sequences.
        width: Channels of a unit.

    Returns:
        The same shape as `hidden`.

    Raises:
        ValueError: if the gates are for another number of sequences.
    """
    gate = gate.to(device=hidden.device, dtype=hidden.dtype)
    if gate.ndim == 1:
        return (hidden.unflatten(-1, (-1, width)) * gate[:, None]).flatten(-2)
    rows = hidden.shape[0]
    if rows % len(gate) or (hidden.ndim == 3 and rows != len(gate)):
        raise ValueError(f"gates for {len(gate)} sequences, but the batch has {rows}")
    by_sequence = hidden.reshape(len(gate), -1, gate.shape[1], width)  # [B, T, U, W]
    return (by_sequence * gate[:, None, :, None]).reshape(hidden.shape)


class _UnitGate:
    """Forward pre-hook of an output projection. A class, so that it survives `copy.deepcopy`."""

    def __init__(self, gate: Tensor, width: int) -> None:
        self.gate = gate
        self.width = width

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (scale_units(args[0], self.gate, self.width),)


class _BlockGate:
    """Forward hook of an output projection: gates the whole block, bias included."""

    def __init__(self, gate: Tensor) -> None:
        self.gate = gate

    def __call__(self, _module: nn.Module, _args: tuple[Tensor], output: Tensor) -> Tensor:
        return scale_units(output, self.gate, output.shape[-1])


class GateHandle:
    """Installed gates. Use it in a `with` block, or call `remove()`."""

    def __init__(self, handles: list[RemovableHandle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        """Take the gates off the model."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> "GateHandle":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def gate_units(model: PreTrainedModel, gates: Gates) -> GateHandle:
    """Install gates, one tensor per layer for each kind of unit given.

    Args:
        model: Dense or pruned model of a known family.
        gates: Per kind (`head`, `neuron`, `attention`, `ffn`) for each layer a float tensor,
            [units] or [batch, units], over the units that the layer has now, in their order. A
            block is one unit. Layers without units take an empty tensor.

    Returns:
        A handle that removes the gates; they act until then.

    Raises:
        ValueError: if the shapes do not match the model.

    Example:
        >>> with gate_units(model, {"head": gates}):
        ...     logits = model(input_ids).logits
    """
    structure, row = structure_of(model.config), anatomy_of(model.config)
    _check_shapes(structure, gates)
    handles = []
    for kind, layers in gates.items():
        block = "attention" if kind in ("head", "attention") else "ffn"
        outputs = row.outputs(model, block)  # type: ignore[arg-type]
        for output, gate in zip(outputs, layers, strict=True):
            if not gate.shape[-1]:
                continue
            if kind in ("attention", "ffn"):
                handles.append(output.register_forward_hook(_BlockGate(gate)))
            else:
                width = structure.head_dim if kind == "head" else 1
                handles.append(output.register_forward_pre_hook(_UnitGate(gate, width)))
    return GateHandle(handles)


def part_gates(
    structure: Structure, kind: str, gates: Sequence[Float[Tensor, "*batch units"]]
) -> dict[UnitKind, list[Float[Tensor, "*batch parts"]]]:
    """The gates that act when every unit has one gate for all of its parts.

    Args:
        structure: Of the model.
        kind: Any kind of unit: the heads of a KV group share its gate, both blocks a layer's.
        gates: One tensor per layer.

    Returns:
        What `gate_units` takes; gradients flow back to `gates`, where those of the parts add up.
    """
    found: dict[UnitKind, list[Tensor]] = {}
    for layer, gate in enumerate(gates):
        for part, owner in owners(structure, kind, layer).items():
            found.setdefault(part, []).append(gate[..., owner.to(gate.device)])
    return found


def _check_shapes(structure: Structure, gates: Gates) -> None:
    for kind, layers in gates.items():
        counts = structure.num_units(kind)
        if len(layers) != len(counts):
            raise ValueError(f"{len(layers)} {kind} gates for {len(counts)} layers")
        for layer, (gate, count) in enumerate(zip(layers, counts, strict=True)):
            if gate.ndim not in (1, 2) or gate.shape[-1] != count:
                raise ValueError(
                    f"{kind} gates of layer {layer} have shape {list(gate.shape)}, "
                    f"expected [{count}] or [batch, {count}]"
                )


def plan_gates(structure: Structure, plan: PruningPlan) -> dict[UnitKind, list[Tensor]]:
    """Gates that are 1 for the units a plan keeps and 0 for those it removes.

    Args:
        structure: Of the model that the gates are for.
        plan: Its pruning plan.

    Returns:
        For each kind that loses units one float32 tensor per layer, [units].

    Raises:
        UsageError: if the plan does not fit the model.
    """
    plan.check_fits(structure)
    gates: dict[UnitKind, list[Tensor]] = {
        kind: [
            torch.tensor([float(unit in kept) for unit in layer.units(kind)])
            for layer, kept in (
                (old, set(new.units(kind)))
                for old, new in zip(structure.layers, plan.kept, strict=True)
            )
        ]
        for kind in UNIT_KINDS
    }
    return {
        kind: layers
        for kind, layers in gates.items()
        if any(not bool(gate.all()) for gate in layers)
    }


@torch.no_grad()
def zero_weights(model: PreTrainedModel, plan: PruningPlan) -> None:
    """Set the single weights that a plan names to zero, in place.

    Raises:
        UsageError: if the model has no such parameter, or one of another shape; nothing is changed.
    """
    parameters = dict(model.named_parameters())
    for name, mask in plan.weights.items():
        if name not in parameters:
            raise UsageError(
                f"plan names weights of '{name}', which this model does not have",
                "Weights are named as in model.named_parameters().",
            )
        if mask.shape != tuple(parameters[name].shape):
            raise UsageError(
                f"plan has a mask of shape {list(mask.shape)} for '{name}', whose shape is "
                f"{list(parameters[name].shape)}",
                "A mask has one bit for each weight of the parameter as it is stored.",
            )
    for name, mask in plan.weights.items():
        weight = parameters[name]
        weight.mul_(torch.from_numpy(mask.keep()).to(weight.device))


def mask(model: PreTrainedModel, plan: PruningPlan) -> PreTrainedModel:
    """A copy of the model whose removed units are multiplied by zero.

    Parameters, cost and shapes stay those of the model. The copy refuses to be saved: a mask lives
    in hooks, which a checkpoint does not hold. Single weights are set to zero, they need no hook.

    Args:
        model: Dense or pruned model; it is not changed.
        plan: What stays.

    Returns:
        The masked copy, with the same logits as `remove(model, plan)` up to rounding.

    Raises:
        UsageError: if the plan does not fit the model or names weights that it does not have, or
            its weights are quantised or not laid out as the family's are.
    """
    check_layout(model)
    gates = plan_gates(structure_of(model.config), plan)
    masked = copy.deepcopy(model)
    zero_weights(masked, plan)
    if gates:
        gate_units(masked, gates)
        masked.save_pretrained = _refuse_to_save  # type: ignore[method-assign]
    return masked


def _refuse_to_save(*_args: object, **_options: object) -> None:
    """In place of `save_pretrained`, which would write the model without its mask."""
    raise UsageError(
        "a masked model cannot be saved: its mask lives in hooks, which no checkpoint holds",
        "Apply the plan with `remove` or `bake`, and save the result.",
    )
