"""What heads look at, and how alike their outputs are."""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.errors import CheckFailedError, UsageError
from sentinel_research.models.entropy import normalised_entropy
from sentinel_research.models.layout import attention_windows
from sentinel_research.pruning.meters.base import Batch, Meter
from sentinel_research.pruning.units import add_up_heads


class _HeadMeter(Meter):
    """Layers with heads have something to measure."""

    def has_layer(self, layer: int) -> bool:
        """True if the layer has heads."""
        return self.structure.num_units("head")[layer] > 0


class EntropyMeter(_HeadMeter):
    """Per layer [units]: sum over sequences of the normalised attention entropy.

    That of a KV group is the mean over its heads: they look, each for itself, and a sum would grow
    with their number.

    Raises:
        UsageError: if a layer's rows see nothing but themselves.
    """

    name = "attention_entropy"
    kinds = ("head", "kv_group")
    empty_shape = (0,)
    needs_probabilities = True

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:
        super().__init__(model, kind, num_folds)
        self.windows = attention_windows(model.config)
        for layer, window in enumerate(self.windows):
            if window is not None and window < 2 and self.has_layer(layer):
                raise UsageError(
                    f"attention of layer {layer} has a window of {window}: it has no entropy",
                    "Entropy is that of a choice among at least two keys.",
                )

    def attach(self, model: PreTrainedModel, batch: Batch) -> list[RemovableHandle]:
        """Watch the attention modules."""
        return [
            attention.register_forward_hook(_EntropyHook(self, layer, batch))
            for layer, attention in enumerate(self.anatomy.attentions(model))
            if self.has_layer(layer)
        ]


class _EntropyHook:
    """Forward hook of an attention module: keeps a sum, never the probabilities."""

    def __init__(self, meter: EntropyMeter, layer: int, batch: Batch) -> None:
        self.meter, self.layer, self.batch = meter, layer, batch

    def __call__(
        self, _module: nn.Module, _args: tuple[Tensor, ...], output: tuple[Tensor, Tensor | None]
    ) -> None:
        probabilities = output[1]
        if probabilities is None:
            raise CheckFailedError(
                "the attention implementation returned no probabilities, nothing can be scored",
                "The entropy scorers need eager attention.",
            )
        window = self.meter.windows[self.layer]
        entropy = normalised_entropy(probabilities, self.batch.part.is_text, window)
        meter = self.meter
        place = meter.structure, meter.kind, self.layer
        sizes = add_up_heads(*place, torch.ones_like(entropy))
        meter.add(self.layer, self.batch, add_up_heads(*place, entropy) / sizes)


class HeadGramMeter(_HeadMeter):
    """Per layer [units, units]: sum over text positions of the products of the units' outputs.

    The output of head `h` is `a_h W_h`, what it adds to the residual stream, that of a KV group the
    sum over its heads. Products follow from
    the Gram matrix of `a` and from `W W^T`, so that outputs of the hidden size are never formed.
    """

    name = "head_gram"
    kinds = ("head", "kv_group")
    empty_shape = (0, 0)

    def __init__(self, model: PreTrainedModel, kind: str, num_folds: int) -> None:
        super().__init__(model, kind, num_folds)
        self._products: dict[int, Tensor] = {}
        for layer, output in enumerate(self.anatomy.outputs(model, "attention")):
            if self.has_layer(layer):
                weight = output.get_parameter("weight").detach().float()
                rows = weight if self.anatomy.output_axis == 0 else weight.T  # [H * D, E]
                self._products[layer] = rows @ rows.T

    def attach(self, model: PreTrainedModel, batch: Batch) -> list[RemovableHandle]:
        """Watch the output projections of attention."""
        return [
            output.register_forward_pre_hook(_GramHook(self, layer, batch))
            for layer, output in enumerate(self.anatomy.outputs(model, "attention"))
            if self.has_layer(layer)
        ]

    def products(self, layer: int) -> Tensor:
        """`W W^T` of a layer, [heads * D, heads * D]."""
        return self._products[layer]


class _GramHook:
    """Forward pre-hook that adds the products of head outputs."""

    def __init__(self, meter: HeadGramMeter, layer: int, batch: Batch) -> None:
        self.meter, self.layer, self.batch = meter, layer, batch

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> None:
        hidden = self.batch.by_sequence(args[0].detach()).float()
        hidden = hidden * self.batch.part.is_text[..., None]
        gram = hidden.transpose(1, 2) @ hidden  # [B, H * D, H * D]
        dim = self.meter.structure.head_dim
        weighted = (gram * self.meter.products(self.layer)).unflatten(2, (-1, dim)).sum(dim=3)
        products = weighted.unflatten(1, (-1, dim)).sum(dim=2).double()  # [B, H, H]
        place = self.meter.structure, self.meter.kind, self.layer
        for _ in range(2):
            products = add_up_heads(*place, products).transpose(1, 2)
        self.meter.add(self.layer, self.batch, products)
