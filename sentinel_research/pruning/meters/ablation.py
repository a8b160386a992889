"""What the loss gains when one unit is masked: one forward pass per unit.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 3.1,
https://arxiv.org/abs/1905.10650.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.pruning.gates import gate_units
from sentinel_research.pruning.meters.base import Batch, Meter


class AblationMeter(Meter):
    """Per layer [units]: sum over sequences of `L(without the unit) - L`.

    `L` is the mean negative log-likelihood per target token. The unit of kind `layer` is a layer's
    attention and feed-forward blocks together.
    """

    name = "ablation"
    kinds = ("head", "neuron", "attention", "ffn", "layer")
    empty_shape = (0,)
    runs_alone = True

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:
        super().__init__(model, kind, num_folds)
        self._kinds = ("attention", "ffn") if kind == "layer" else (kind,)
        counts = [self.structure.num_units(k) for k in self._kinds]  # type: ignore[arg-type]
        self._counts = [max(layer) for layer in zip(*counts, strict=True)]

    def run(
        self, model: PreTrainedModel, batch: Batch, losses: Callable[[], Float[Tensor, " batch"]]
    ) -> None:
        """Mask one unit after the other."""
        dense = losses().double()
        gates: Any = {
            kind: [torch.ones(count) for count in self.structure.num_units(kind)]  # type: ignore[arg-type]
            for kind in self._kinds
        }
        with gate_units(model, gates):
            for layer, count in enumerate(self._counts):
                if not count:
                    continue
                gained = []
                for unit in range(count):
                    for layers in gates.values():
                        layers[layer][unit : unit + 1] = 0.0
                    gained.append(losses().double() - dense)
                    for layers in gates.values():
                        layers[layer][unit : unit + 1] = 1.0
                self.add(layer, batch, torch.stack(gained, dim=1))
        self._num_read += len(batch.folds)

    def has_layer(self, layer: int) -> bool:
        """True if the layer has units of this kind."""
        return self._counts[layer] > 0
