"""What a recovery may change about a training: the size of updates, the loss, and callbacks.

A factor scales what one optimiser step does to an entry of a parameter:
`new = old + factor * (stepped - old)`, after the step, so that it covers gradient, momentum and
decoupled weight decay alike. Under AdamW a constant factor is exactly a learning rate of its own. A
factor of 0 leaves every bit as it was, and keeps the entry out of the gradient's norm and of the
optimiser's moments; a factor of 1 leaves the step as it was.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, TrainerCallback

from sentinel_research.training.sharded import factor_of_part, own_part

Factors = Mapping[str, float | Tensor]
"""By the name of a parameter: a scalar, or a tensor that broadcasts to it. Absent is 1."""
LossTerm = Callable[[nn.Module, Mapping[str, Any], Any, Tensor], Tensor]
"""`(model, inputs, outputs, loss so far) -> loss`, scalars in nats per token; training only."""


@dataclass(frozen=True)
class Adjustments:
    """What a training does otherwise than plain AdamW on the model's own loss."""

    factors: Factors = field(default_factory=dict)
    """Of the updates of parameters; one that is 0 throughout freezes its parameter."""
    changing: tuple[Mapping[str, Tensor], ...] = ()
    """Factors that a callback changes in place between two steps: they are read at every step, and
    multiply the others. Tensors of the parameter's type and device."""
    loss_terms: tuple[LossTerm, ...] = ()
    """Applied in order to the loss of every training batch, never to that of validation."""
    forward_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Given to the model beside the batch in training, such as `output_hidden_states=True`."""
    callbacks: tuple[TrainerCallback, ...] = ()
    """Trainer's; one that keeps state implements its `ExportableState`, to resume exactly."""


def multiply(first: Factors, second: Factors) -> dict[str, float | Tensor]:
    """The factors of two rules together."""
    return {name: first.get(name, 1.0) * second.get(name, 1.0) for name in {**first, **second}}


class _Scaled:
    """One parameter and what its updates are multiplied by now.

    Of a parameter in parts the factors are those of this process' part.
    """

    def __init__(self, parameter: nn.Parameter, fixed: Tensor, changing: list[Tensor]) -> None:
        self.parameter = parameter
        self.fixed = fixed
        self.changing = changing

    @property
    def factor(self) -> Tensor:
        """Broadcasts to the parameter."""
        return math.prod(self.changing, start=self.fixed)

    def hold(self, gradient: Tensor) -> Tensor:
        """Hook of the gradient: zero where the parameter does not move."""
        return gradient.masked_fill(self.factor == 0, 0)


class UpdateScaling:
    """Scales the updates of one model's parameters while a training runs.

    Args:
        model: Whose parameters the factors name; every process may hold a part of it.
        factors: See `Factors`.
        changing: See `Adjustments`.

    Raises:
        ValueError: if a factor names no parameter, does not broadcast to it, or is negative or
            not finite.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        factors: Factors,
        changing: tuple[Mapping[str, Tensor], ...] = (),
    ) -> None:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self._scaled: list[_Scaled] = []
        self._frozen: list[nn.Parameter] = []
        for name in dict.fromkeys([*factors, *(name for one in changing for name in one)]):
            parameter = parameters.get(name)
            if parameter is None:
                raise ValueError(f"a factor names '{name}', which the model does not have")
            fixed = _checked(name, factors.get(name, 1.0), parameter)
            live = [_checked(name, one[name], parameter) for one in changing if name in one]
            if not parameter.requires_grad:
                # no optimiser has it
                continue
            if not fixed.any():
                self._frozen.append(parameter)
            elif live or not bool((fixed == 1).all()):
                own = factor_of_part(fixed, parameter)
                self._scaled.append(_Scaled(parameter, own, live))
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Parameters that never move need no gradient inside the block; held entries get zeros."""
        flags = [(parameter, parameter.requires_grad) for parameter in self._frozen]
        hooks = []
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        for one in self._scaled:
            if one.parameter.requires_grad and (one.changing or not bool(one.fixed.all())):
                hooks.append(one.parameter.register_hook(one.hold))
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def hold_parts(self) -> None:
        """Held entries of gradients in parts get zeros: autograd has whole ones, and no hook sees
        what is left of them."""
        for one in self._scaled:
            gradient = one.parameter.grad
            if isinstance(gradient, DTensor):
                own_part(gradient).masked_fill_(one.factor == 0, 0)

    def num_moving(self, model: PreTrainedModel) -> int:
        """Entries of a model's parameters that a step can change, whatever a callback holds now.

        Args:
            model: Whole.
        """
        frozen = {id(parameter) for parameter in self._frozen}
        held = sum(int((one.fixed == 0).expand_as(one.parameter).sum()) for one in self._scaled)
        moving = (p for p in model.parameters() if p.requires_grad and id(p) not in frozen)
        return sum(parameter.numel() for parameter in moving) - held

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale the updates of every step of an optimiser from now on."""
        if self._scaled:
            optimizer.register_step_pre_hook(self._keep)
            optimizer.register_step_post_hook(self._scale)

    @torch.no_grad()
    def _keep(self, *_: Any) -> None:
        for one in self._scaled:
            factor = one.factor
            if not bool((factor == 1).all()):
                own = own_part(one.parameter).detach()
                self._before.append((own, factor, own.clone()))

    @torch.no_grad()
    def _scale(self, *_: Any) -> None:
        for parameter, factor, old in self._before:
            part = torch.lerp(old, parameter, factor)
            # exact at both ends, whatever lerp's own rounding is
            part = torch.where(factor == 1, parameter, torch.where(factor == 0, old, part))
            parameter.copy_(part)
        self._before = []


def _checked(name: str, factor: float | Tensor, parameter: nn.Parameter) -> Tensor:
    """The factor as a tensor of the parameter's type and device: the same memory where it is."""
    given = torch.as_tensor(factor, dtype=parameter.dtype, device=parameter.device)
    if not bool(torch.isfinite(given).all()) or bool((given < 0).any()):
        raise ValueError(f"factors of '{name}' must be finite and not negative")
    try:
        given.expand(parameter.shape)
    except RuntimeError as error:
        raise ValueError(
            f"a factor of shape {list(given.shape)} for '{name}', whose shape is "
            f"{list(parameter.shape)}"
        ) from error
    return given
