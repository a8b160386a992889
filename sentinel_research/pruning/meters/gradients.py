"""How the loss reacts to gates and to weights.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 4.1,
https://arxiv.org/abs/1905.10650.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models.layout import projection_paths
from sentinel_research.pruning.gates import gate_units, part_gates
from sentinel_research.pruning.meters.base import Batch, Meter


class GateGradientMeter(Meter):
    """Per layer [3, units]: sums over sequences of `g`, `|g|` and `g^2`, `g = dL/dgate` at 1.

    A KV group has one gate for all of its heads, a layer one for both blocks, so that `g` is the
    signed sum over the parts: those of one sequence may cancel.

    Every sequence has gates of its own, so gradients of different sequences cannot cancel and the
    batch size does not change the statistic.
    """

    name = "gate_gradient"
    kinds = ("head", "kv_group", "neuron", "attention", "ffn", "layer")
    empty_shape = (3, 0)

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:
        super().__init__(model, kind, num_folds)
        self._counts = self.structure.num_units(kind)  # type: ignore[arg-type]
        self._gates: list[Tensor] = []

    @contextlib.contextmanager
    def watch(self, model: PreTrainedModel, batch: Batch) -> Iterator[None]:
        """Install gates of 1 for every sequence."""
        self._gates = [
            torch.ones(len(batch.folds), count, device=model.device, requires_grad=True)
            for count in self._counts
        ]
        # the caller may have switched gradients off
        with torch.enable_grad():
            gates = part_gates(self.structure, self.kind, self._gates)
        with gate_units(model, gates):
            yield
        self._num_read += len(batch.folds)

    def leaves(self) -> Sequence[Tensor]:
        """The gates of layers that have units."""
        return [gate for gate in self._gates if gate.shape[1]]

    def receive(self, batch: Batch, gradients: Sequence[Tensor]) -> None:
        """Add the gradients of one batch."""
        layers = [layer for layer, count in enumerate(self._counts) if count]
        for layer, gradient in zip(layers, gradients, strict=True):
            wide = gradient.double()
            self.add(layer, batch, torch.stack([wide, wide.abs(), wide.square()], dim=1))

    def has_layer(self, layer: int) -> bool:
        """True if the layer has units of this kind."""
        return self._counts[layer] > 0


class WeightGradientMeter(Meter):
    """Per layer a flat vector: sum over sequences of `dL/dW` of every projection of the layer.

    Only the total is needed: there is one sum, not one per fold, for it is as large as the model.
    """

    name = "weight_gradients"
    kinds = ("weight",)
    empty_shape = (0,)

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:  # noqa: ARG002
        super().__init__(model, kind, num_folds=1)
        parameters = dict(model.named_parameters())
        self._weights = [
            [
                parameters[f"{path}.weight"]
                for path in projection_paths(self.anatomy, self.structure, layer)
            ]
            for layer in range(self.structure.num_layers)
        ]

    @contextlib.contextmanager
    def watch(self, model: PreTrainedModel, batch: Batch) -> Iterator[None]:  # noqa: ARG002
        """Let the projections' weights take part in the backward pass."""
        weights = [weight for layer in self._weights for weight in layer]
        for weight in weights:
            weight.requires_grad_(True)
        try:
            yield
        finally:
            for weight in weights:
                weight.requires_grad_(False)
        self._num_read += len(batch.folds)

    def leaves(self) -> Sequence[Tensor]:
        """Every projection's weight."""
        return [weight for layer in self._weights for weight in layer]

    def receive(self, batch: Batch, gradients: Sequence[Tensor]) -> None:
        """Add the gradients of one batch."""
        left = list(gradients)
        for layer, weights in enumerate(self._weights):
            mine, left = left[: len(weights)], left[len(weights) :]
            if not mine:
                continue
            flat = torch.cat([gradient.flatten() for gradient in mine]).double().cpu()
            if layer not in self._sums:
                self._sums[layer] = torch.zeros(1, len(flat), dtype=torch.float64)
            self._sums[layer][0] += flat
            self._num_seen[layer] = self._num_seen.get(layer, 0) + len(batch.folds)

    def has_layer(self, layer: int) -> bool:
        """True if the layer has projections left."""
        return bool(self._weights[layer])
