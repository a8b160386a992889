"""Moments of what goes into projections, over text positions.

Reference: [1] Sun et al. 2023, Wanda, https://arxiv.org/abs/2306.11695; [2] An et al. 2023, FLAP,
https://arxiv.org/abs/2312.11983.
"""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.models.layout import projection_paths
from sentinel_research.pruning.meters.base import Batch, Meter


class ChannelMeter(Meter):
    """Per layer [2, channels]: sums of `x` and `x^2` at the input of a block's output projection.

    `kind` is `head` or `kv_group` (attention) or `neuron` (feed-forward).
    """

    name = "channel_moments"
    kinds = ("head", "kv_group", "neuron")
    empty_shape = (2, 0)

    def attach(self, model: PreTrainedModel, batch: Batch) -> list[RemovableHandle]:
        """Watch the output projections of the block."""
        outputs = self.anatomy.outputs(model, "ffn" if self.kind == "neuron" else "attention")
        return [
            output.register_forward_pre_hook(_MomentHook(self, layer, batch))
            for layer, output in enumerate(outputs)
            if self.has_layer(layer)
        ]

    def has_layer(self, layer: int) -> bool:
        """True if the layer has units of this kind."""
        return self.structure.num_units(self.kind)[layer] > 0  # type: ignore[arg-type]


class _MomentHook:
    """Forward pre-hook that adds the moments of a projection's input."""

    def __init__(self, meter: ChannelMeter, layer: int, batch: Batch) -> None:
        self.meter, self.layer, self.batch = meter, layer, batch

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> None:
        # a variance is the small difference of two large moments
        hidden = self.batch.by_sequence(args[0].detach()).double()
        hidden = hidden * self.batch.part.is_text[..., None]
        moments = torch.stack([hidden.sum(dim=1), hidden.square().sum(dim=1)], dim=1)
        self.meter.add(self.layer, self.batch, moments)  # [B, 2, C]


class InputNormMeter(Meter):
    """Per layer a flat vector: sum of `x_j^2` for every input of every projection of the layer.

    Projections that read the same hidden state are measured each, in the order of
    `Anatomy.input_paths` and `output_path`, attention first.
    """

    name = "input_norms"
    kinds = ("weight",)
    empty_shape = (0,)

    def attach(self, model: PreTrainedModel, batch: Batch) -> list[RemovableHandle]:
        """Watch every projection."""
        self._seen: dict[int, dict[int, Tensor]] = {}
        handles = []
        for layer in range(self.structure.num_layers):
            paths = projection_paths(self.anatomy, self.structure, layer)
            for place, path in enumerate(paths):
                hook = _NormHook(self, layer, batch, place)
                handles.append(model.get_submodule(path).register_forward_pre_hook(hook))
        return handles

    def note(self, layer: int, batch: Batch, place: int, norms: Tensor) -> None:
        """Put the projections of a layer together once all have run."""
        seen = self._seen.setdefault(layer, {})
        seen[place] = norms
        if len(seen) == len(projection_paths(self.anatomy, self.structure, layer)):
            self.add(layer, batch, torch.cat([seen[key] for key in sorted(seen)], dim=1))

    def has_layer(self, layer: int) -> bool:
        """True if the layer has projections left."""
        parts = self.structure.layers[layer]
        return bool(parts.heads or parts.neurons)


class _NormHook:
    """Forward pre-hook that adds the squared norms of a projection's inputs."""

    def __init__(self, meter: InputNormMeter, layer: int, batch: Batch, place: int) -> None:
        self.meter, self.layer, self.batch, self.place = meter, layer, batch, place

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> None:
        hidden = self.batch.by_sequence(args[0].detach()).float()
        hidden = hidden * self.batch.part.is_text[..., None]
        self.meter.note(self.layer, self.batch, self.place, hidden.square().sum(dim=1))
