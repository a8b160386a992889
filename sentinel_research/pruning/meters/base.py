"""What all meters have in common: watch a batch, add one value per sequence to its fold."""

import abc
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import CheckFailedError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import structure_of

Need = tuple[str, str]
"""A statistic's name, and the kind of unit (or block) that it is for."""


@dataclass(frozen=True)
class Batch:
    """The sequences that are being read."""

    part: CalibrationSet
    """On the model's device."""
    folds: Int[Tensor, " batch"]
    """The fold that each sequence belongs to, on the CPU."""

    def by_sequence(self, hidden: Tensor) -> Float[Tensor, "batch seq channels"]:
        """Undo the flattening of batch and time that OPT does in its feed-forward block."""
        return hidden.reshape(*self.part.ids.shape, hidden.shape[-1])


class Meter(abc.ABC):
    """Measures one statistic for one kind of unit.

    Args:
        model: Dense or pruned model of a known family.
        kind: Kind of unit, or block.
        num_folds: Folds to keep sums for.
    """

    name: str
    """Name of the statistic."""
    kinds: tuple[str, ...]
    """Kinds of unit that it can be measured for."""
    empty_shape: tuple[int, ...]
    """Shape of the sum of a layer that has nothing to measure."""
    needs_probabilities = False
    """True if attention has to hand out its probabilities."""
    runs_alone = False
    """True if the meter runs forward passes of its own."""

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:
        self.kind = kind
        self.num_folds = num_folds
        self.structure = structure_of(model.config)
        self.anatomy = anatomy_of(model.config)
        self._sums: dict[int, Tensor] = {}
        self._num_seen: dict[int, int] = {}
        self._num_read = 0

    @contextlib.contextmanager
    def watch(self, model: PreTrainedModel, batch: Batch) -> Iterator[None]:
        """Measure whatever the model computes inside the block."""
        handles = self.attach(model, batch)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._num_read += len(batch.folds)

    def attach(
        self,
        model: PreTrainedModel,  # noqa: ARG002
        batch: Batch,  # noqa: ARG002
    ) -> list[RemovableHandle]:
        """Install the hooks for one batch."""
        return []

    def leaves(self) -> Sequence[Tensor]:
        """Tensors whose gradients are needed; asked for after `watch` has begun."""
        return []

    def receive(self, batch: Batch, gradients: Sequence[Tensor]) -> None:  # noqa: B027
        """Gradients of `leaves`."""

    def run(  # noqa: B027
        self, model: PreTrainedModel, batch: Batch, losses: Callable[[], Float[Tensor, " batch"]]
    ) -> None:
        """Passes of the meter's own, without gradients; `losses` runs one."""

    def add(self, layer: int, batch: Batch, values: Float[Tensor, "batch ..."]) -> None:
        """Add one value per sequence to the sums of a layer."""
        values = values.detach().double().cpu()
        if layer not in self._sums:
            shape = (self.num_folds, *values.shape[1:])
            self._sums[layer] = torch.zeros(shape, dtype=torch.float64)
        self._sums[layer].index_add_(0, batch.folds, values)
        self._num_seen[layer] = self._num_seen.get(layer, 0) + len(values)

    @abc.abstractmethod
    def has_layer(self, layer: int) -> bool:
        """True if the layer has something to measure."""

    def results(self) -> dict[Need, list[Float64[Tensor, "folds ..."]]]:
        """The sums of every layer.

        Raises:
            CheckFailedError: if a layer was not measured on every sequence.
        """
        layers = []
        for layer in range(self.structure.num_layers):
            if not self.has_layer(layer):
                shape = (self.num_folds, *self.empty_shape)
                layers.append(torch.zeros(shape, dtype=torch.float64))
                continue
            if self._num_seen.get(layer, 0) != self._num_read:
                raise CheckFailedError(
                    f"layer {layer} showed its {self.name} for {self._num_seen.get(layer, 0)} of "
                    f"{self._num_read} sequences",
                )
            layers.append(self._sums[layer])
        return {(self.name, self.kind): layers}
