"""What the heads of a gated model do on some text, and the states that follow from it.

Nothing else moves a state: a forward pass never does. Statistics are those of
`models.agency.statistics`, read in evaluation mode with eager attention.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import CheckFailedError
from sentinel_research.models.agency import GatedLayer, HeadStatistics
from sentinel_research.models.agency.consent import required_gates
from sentinel_research.models.agency.statistics import alignment, usage, utilisation
from sentinel_research.models.modes import eager_attention, evaluating
from sentinel_research.pruning.calibrate import forward, sequence_nll


def measure_heads(
    model: PreTrainedModel, text: CalibrationSet
) -> list[tuple[GatedLayer, HeadStatistics]]:
    """The statistics of every gated head on some text; the model is left as it was.

    Args:
        model: With gates.
        text: Sequences of two tokens at least, padding last; on any device.

    Returns:
        Every gate with its statistics, in layer order.

    Raises:
        UsageError: for a model without gates.
        CheckFailedError: if a layer showed no attention probabilities.
    """
    places = required_gates(model)
    text = text.to(model.device)
    with evaluating(model), eager_attention(model), torch.enable_grad(), _watching(places) as seen:
        loss = sequence_nll(forward(model, text), text).sum()
        gradients = torch.autograd.grad(loss, [watch.gated for watch in seen])
    with torch.no_grad():
        return [
            (place, _statistics(place, watch, gradient, text))
            for place, watch, gradient in zip(places, seen, gradients, strict=True)
        ]


class _Watch:
    """What passes through one gate, and what its layer looks at."""

    offered: Tensor
    gated: Tensor
    probabilities: Tensor | None = None

    def gate(
        self, gate: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor
    ) -> None:
        with torch.no_grad():
            self.offered = gate.offered(*args, **kwargs)
        # frozen parameters leave the first layers without gradients
        self.gated = output if output.requires_grad else output.requires_grad_()

    def attention(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if output[1] is not None:
            self.probabilities = output[1].detach()


@contextlib.contextmanager
def _watching(places: list[GatedLayer]) -> Iterator[list[_Watch]]:
    seen = [_Watch() for _ in places]
    handles = []
    for place, watch in zip(places, seen, strict=True):
        handles.append(place.gate.register_forward_hook(watch.gate, with_kwargs=True))
        handles.append(place.attention.register_forward_hook(watch.attention))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _statistics(
    place: GatedLayer, watch: _Watch, gradient: Tensor, text: CalibrationSet
) -> HeadStatistics:
    if watch.probabilities is None:
        raise CheckFailedError(
            f"attention of layer {place.layer} returned no probabilities",
            "Utilisation is measured with eager attention; this model's layers must support it.",
        )
    num_heads = place.gate.num_heads
    weight = place.output.get_parameter("weight")
    rows = weight if place.rows_first else weight.T  # [H * D, E]
    return HeadStatistics(
        utilisation=utilisation(watch.probabilities, text.is_text, place.window),
        alignment=alignment(watch.offered, gradient, text.is_text, num_heads),
        usage=usage(watch.offered, rows, text.is_text, num_heads),
    )


def update_heads(model: PreTrainedModel, text: CalibrationSet) -> None:
    """Measure, and move the running means and states of every gate.

    Args:
        model: With gates, in training mode.
        text: See `measure_heads`.

    Raises:
        UsageError: for a model without gates, or in evaluation mode, where states are frozen.
        CheckFailedError: see `measure_heads`.
    """
    for place, found in measure_heads(model, text):
        place.gate.update(found)
