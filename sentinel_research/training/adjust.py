"""What a recovery may change about a training: the size of updates, the loss, and callbacks.

A factor scales what one optimiser step does to an entry of a parameter:
`new = old + factor * (stepped - old)`, after the step, so that it covers gradient, momentum and
decoupled weight decay alike. Under AdamW a constant factor is exactly a learning rate of its own. A
factor of 0 leaves every bit as it was, and keeps the entry out of the gradient's norm and of the
optimiser's moments; a factor of 1 leaves the step as it was.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

Factors = Mapping[str, float | Tensor]
"""By the name of a parameter: a scalar, or a tensor that broadcasts to it. Absent is 1."""
LossTerm = Callable[[nn.Module, Mapping[str, Any], Any, Tensor], Tensor]
"""`(model, inputs, outputs, loss so far) -> loss`, scalars in nats per token; training only."""


@dataclass(frozen=True)
class Adjustments:
    """What a training does otherwise than plain AdamW on the model's own loss."""

    factors: Factors = field(default_factory=dict)
    """Of the updates of parameters; one that is 0 throughout freezes its parameter."""
    loss_terms: tuple[LossTerm, ...] = ()
    """Applied in order to the loss of every training batch, never to that of validation."""
    forward_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Given to the model beside the batch in training, such as `output_hidden_states=True`."""
    callbacks: tuple[TrainerCallback, ...] = ()
    """Trainer's; one that keeps state implements its `ExportableState`, to resume exactly."""


def multiply(first: Factors, second: Factors) -> dict[str, float | Tensor]:
    """The factors of two rules together."""
    return {name: first.get(name, 1.0) * second.get(name, 1.0) for name in {**first, **second}}


class UpdateScaling:
    """Scales the updates of one model's parameters while a training runs.

    Args:
        model: Whose parameters the factors name.
        factors: See `Factors`.

    Raises:
        ValueError: if a factor names no parameter, does not broadcast to it, or is negative or
            not finite.
    """

    def __init__(self, model: PreTrainedModel, factors: Factors) -> None:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self._scaled: list[tuple[nn.Parameter, Tensor]] = []
        self._frozen: list[nn.Parameter] = []
        for name, factor in factors.items():
            parameter = parameters.get(name)
            if parameter is None:
                raise ValueError(f"a factor names '{name}', which the model does not have")
            full = _expanded(name, factor, parameter)
            if not parameter.requires_grad:
                # no optimiser has it
                continue
            if not full.any():
                self._frozen.append(parameter)
            elif not bool((full == 1).all()):
                self._scaled.append((parameter, full))
        self._before: list[Tensor] = []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Parameters that never move need no gradient inside the block; held entries get zeros."""
        flags = [(parameter, parameter.requires_grad) for parameter in self._frozen]
        hooks = []
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        for parameter, factor in self._scaled:
            if parameter.requires_grad and not bool(factor.all()):
                hooks.append(parameter.register_hook(_Hold(factor == 0)))
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for hook in hooks:
                hook.remove()

    def num_moving(self, model: PreTrainedModel) -> int:
        """Entries of a model's parameters that a step can change."""
        frozen = {id(parameter) for parameter in self._frozen}
        held = sum(int((factor == 0).sum()) for _, factor in self._scaled)
        moving = (p for p in model.parameters() if p.requires_grad and id(p) not in frozen)
        return sum(parameter.numel() for parameter in moving) - held

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale the updates of every step of an optimiser from now on."""
        if self._scaled:
            optimizer.register_step_pre_hook(self._keep)
            optimizer.register_step_post_hook(self._scale)

    @torch.no_grad()
    def _keep(self, *_: Any) -> None:
        self._before = [parameter.detach().clone() for parameter, _ in self._scaled]

    @torch.no_grad()
    def _scale(self, *_: Any) -> None:
        for (parameter, factor), old in zip(self._scaled, self._before, strict=True):
            part = torch.lerp(old, parameter, factor)
            # exact at both ends, whatever lerp's own rounding is
            part = torch.where(factor == 1, parameter, torch.where(factor == 0, old, part))
            parameter.copy_(part)
        self._before = []


class _Hold:
    """Hook of a gradient: zero where the parameter does not move."""

    def __init__(self, held: Tensor) -> None:
        self._held = held

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient.masked_fill(self._held, 0)


def _expanded(name: str, factor: float | Tensor, parameter: nn.Parameter) -> Tensor:
    given = torch.as_tensor(factor, dtype=parameter.dtype, device=parameter.device)
    if not bool(torch.isfinite(given).all()) or bool((given < 0).any()):
        raise ValueError(f"factors of '{name}' must be finite and not negative")
    try:
        return given.expand_as(parameter)
    except RuntimeError as error:
        raise ValueError(
            f"a factor of shape {list(given.shape)} for '{name}', whose shape is "
            f"{list(parameter.shape)}"
        ) from error
