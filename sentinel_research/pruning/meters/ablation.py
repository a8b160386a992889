"""What the loss gains when one unit is masked: one forward pass per unit.

Reference: [1] Michel et al. 2019, Are Sixteen Heads Really Better than One?, section 3.1,
https://arxiv.org/abs/1905.10650.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.pruning.gates import gate_units, part_gates
from sentinel_research.pruning.meters.base import Batch, Meter
from sentinel_research.pruning.units import owners


class AblationMeter(Meter):
    """Per layer [units]: sum over sequences of `L(without the unit) - L`.

    `L` is the mean negative log-likelihood per target token. A KV group goes with all of its heads,
    a layer with both blocks.
    """

    name = "ablation"
    kinds = ("head", "kv_group", "neuron", "attention", "ffn", "layer")
    empty_shape = (0,)
    runs_alone = True

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:
        super().__init__(model, kind, num_folds)
        self._counts = self.structure.num_units(kind)  # type: ignore[arg-type]

    def run(
        self, model: PreTrainedModel, batch: Batch, losses: Callable[[], Float[Tensor, " batch"]]
    ) -> None:
        """Mask one unit after the other."""
        dense = losses().double()
        ones = [torch.ones(count) for count in self._counts]
        gates = part_gates(self.structure, self.kind, ones)
        with gate_units(model, gates):
            for layer, count in enumerate(self._counts):
                if not count:
                    continue
                gained, owner = [], owners(self.structure, self.kind, layer)
                for unit in range(count):
                    for part, layers in gates.items():
                        layers[layer].copy_(owner[part] != unit)
                    gained.append(losses().double() - dense)
                for layers in gates.values():
                    layers[layer].fill_(1.0)
                self.add(layer, batch, torch.stack(gained, dim=1))
        self._num_read += len(batch.folds)

    def has_layer(self, layer: int) -> bool:
        """True if the layer has units of this kind."""
        return self._counts[layer] > 0
