"""Multiply each head's output by a gate: the one mechanism behind masks and gradients.

The output of an attention layer is `sum_h gate_h * (a_h W_h) + b`, where `a_h` is what head `h`
hands to its slice `W_h` of the output projection. A forward pre-hook on that projection scales
`a_h`, so a gate works under any attention implementation, is differentiable, and leaves the bias
alone. A gate of 1 changes no bit; a gate of 0 is the head's removal.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 2.2,
https://arxiv.org/abs/1905.10650.
"""

import copy
from collections.abc import Sequence
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.heads import Heads, heads_of
from sentinel_research.pruning.plan import PruningPlan


class _HeadGate:
    """Forward pre-hook of an output projection. A class, so that it survives `copy.deepcopy`."""

    def __init__(self, gate: Tensor, head_dim: int) -> None:
        self.gate = gate
        self.head_dim = head_dim

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        (hidden,) = args  # [B, T, H * D]
        per_head = hidden.unflatten(-1, (-1, self.head_dim))  # [B, T, H, D]
        if self.gate.ndim == 2 and self.gate.shape[0] != hidden.shape[0]:
            raise ValueError(
                f"gates for {self.gate.shape[0]} sequences, but the batch has {hidden.shape[0]}"
            )
        gate = self.gate.to(device=hidden.device, dtype=hidden.dtype)
        gate = gate[:, None, :, None] if gate.ndim == 2 else gate[:, None]
        return ((per_head * gate).flatten(-2),)


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


def gate_heads(model: PreTrainedModel, gates: Sequence[Tensor]) -> GateHandle:
    """Install one gate tensor per layer.

    Args:
        model: Dense or pruned model of a known family.
        gates: For each layer a float tensor, [heads] or [batch, heads], over the heads that the
            layer has now, in their order. Layers without heads take an empty tensor.

    Returns:
        A handle that removes the gates; they act until then.

    Raises:
        ValueError: if the shapes do not match the model.

    Example:
        >>> with gate_heads(model, gates):
        ...     logits = model(input_ids).logits
    """
    heads = heads_of(model.config)
    if len(gates) != heads.num_layers:
        raise ValueError(f"{len(gates)} gate tensors for {heads.num_layers} layers")
    for layer, (gate, count) in enumerate(zip(gates, heads.num_heads_per_layer, strict=True)):
        if gate.ndim not in (1, 2) or gate.shape[-1] != count:
            raise ValueError(
                f"gates of layer {layer} have shape {list(gate.shape)}, "
                f"expected [{count}] or [batch, {count}]"
            )
    projections = anatomy_of(model.config).output_projections(model)
    return GateHandle(
        [
            projection.register_forward_pre_hook(_HeadGate(gate, heads.head_dim))
            for projection, gate in zip(projections, gates, strict=True)
            if gate.shape[-1]
        ]
    )


def plan_gates(heads: Heads, plan: PruningPlan) -> list[Float[Tensor, " _"]]:
    """Gates that are 1 for the heads a plan keeps and 0 for those it removes.

    Args:
        heads: Of the model that the gates are for.
        plan: Its pruning plan.

    Returns:
        One float32 tensor per layer, [heads].

    Raises:
        UsageError: if the plan does not fit the model.
    """
    plan.check_fits(heads)
    return [
        torch.tensor([float(head in set(kept)) for head in present])
        for present, kept in zip(heads.kept, plan.kept_heads, strict=True)
    ]


def mask(model: PreTrainedModel, plan: PruningPlan) -> PreTrainedModel:
    """A copy of the model whose removed heads are multiplied by zero.

    Parameters, cost and shapes stay those of the model. The copy cannot be saved: a mask lives in
    hooks, which a checkpoint does not hold (`models.checkpoint.save` refuses it).

    Args:
        model: Dense or pruned model; it is not changed.
        plan: Which heads stay.

    Returns:
        The masked copy, with the same logits as `remove(model, plan)` up to rounding.

    Raises:
        UsageError: if the plan does not fit the model.
    """
    gates = plan_gates(heads_of(model.config), plan)
    masked = copy.deepcopy(model)
    if not plan.is_identity:
        gate_heads(masked, gates)
    return masked
