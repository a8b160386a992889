"""How much a block turns the residual stream.

Reference: [1] Men et al. 2024, ShortGPT, equation 1 (Block Influence),
https://arxiv.org/abs/2403.03853.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.models.layout import norm_stays
from sentinel_research.pruning.meters.base import Batch, Meter


class SimilarityMeter(Meter):
    """Per layer [3]: sums over text positions of `1 - cos` for attention, feed-forward, layer.

    A block adds its contribution `c` to the residual stream `r`: `1 - cos(r, r + c)`; a layer turns
    its input `x` into its output `y`: `1 - cos(x, y)`. For attention `r` is `x`, for feed-forward
    `x` plus attention's contribution. Where the stream runs through the norms (`norm_stays`), it is
    what the block reads, and a norm is no part of a block, for it stays when the block goes. A
    block that is gone contributes zeros.
    """

    name = "similarity"
    kinds = ("attention", "ffn", "layer")
    empty_shape = (3,)

    def attach(self, model: PreTrainedModel, batch: Batch) -> list[RemovableHandle]:
        """Watch the layers and both output projections."""
        handles = []
        for layer, block in enumerate(model.get_submodule(self.anatomy.layers).children()):
            hook = _ResidualHook(self, layer, batch)
            handles.append(block.register_forward_hook(hook.end, with_kwargs=True))
            if norm_stays(model.config):
                # without heads or neurons these modules still run, attention's projections do not
                paths = (
                    self.anatomy.attention_path(layer),
                    self.anatomy.input_paths(layer, "ffn")[0],
                )
                for path in paths:
                    module = model.get_submodule(path)
                    handles.append(module.register_forward_pre_hook(hook.read, with_kwargs=True))
            for name in ("attention", "ffn"):
                output = model.get_submodule(self.anatomy.output_path(layer, name))
                handles.append(output.register_forward_hook(hook.keep))
        return handles

    def has_layer(self, layer: int) -> bool:
        """Every layer is compared; blocks that are gone turn nothing."""
        return layer < self.structure.num_layers


class _ResidualHook:
    """Keeps what both blocks of a layer read and contribute until the layer ends."""

    def __init__(self, meter: SimilarityMeter, layer: int, batch: Batch) -> None:
        self.meter, self.layer, self.batch = meter, layer, batch
        self.contributions: list[Tensor] = []
        self.streams: list[Tensor] = []

    def read(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What a block reads, where that is the stream itself."""
        hidden = args[0] if args else kwargs["hidden_states"]
        self.streams.append(self.batch.by_sequence(hidden.detach()).float())

    def keep(self, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        """Attention runs before feed-forward in every family."""
        self.contributions.append(self.batch.by_sequence(output.detach()).float())

    def end(
        self,
        _module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Tensor | tuple[Any, ...],
    ) -> None:
        """Compare, once the layer is through."""
        start = (args[0] if args else kwargs["hidden_states"]).detach().float()
        end = (output[0] if isinstance(output, tuple) else output).detach().float()
        attention, ffn = self.contributions
        first, second = self.streams or (start, start + attention)
        self.contributions, self.streams = [], []
        pairs = ((first, first + attention), (second, second + ffn), (start, end))
        turned = torch.stack([1 - F.cosine_similarity(a, b, dim=-1) for a, b in pairs], dim=2)
        self.meter.add(
            self.layer, self.batch, (turned * self.batch.part.is_text[..., None]).sum(dim=1)
        )
