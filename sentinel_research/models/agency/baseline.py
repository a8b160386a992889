"""Baseline integration: a frozen model runs beside, and its states are mixed into the upper half.

Layer `j >= L // 2` reads `h + W_a LN(b_j)` instead of `h`, where `b_j` is what the layer at the
same relative depth of the frozen model reads, and LN a layer norm without parameters. `W_a` starts
at zero, so the model starts unchanged. The frozen model is causal and keeps keys and values of its
own, in layers of the cache behind the model's. It costs a whole forward pass of its own.

Reference: the form is that of sentinel-ai's `UNetTransformer`
(https://github.com/CambrianTech/sentinel-ai); its gate `sigmoid(beta)`, which also shrinks `h`, is
left out, because no such model starts as the one that it is compared with.
"""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

from sentinel_research.errors import UsageError


class BaselineMix(nn.Module):
    """Adds a learned map of a frozen model's state.

    Args:
        hidden_size: Width `E` of the residual stream.
        baseline_size: Width of the frozen model's.
    """

    def __init__(self, hidden_size: int, baseline_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size, baseline_size))

    def reset_parameters(self) -> None:
        """The state of rest: the identity."""
        nn.init.zeros_(self.weight)

    def forward(
        self,
        hidden: Float[Tensor, "batch time hidden"],
        state: Float[Tensor, "batch time baseline"],
    ) -> Float[Tensor, "batch time hidden"]:
        """`h + W_a LN(b)` at every position."""
        normed = F.layer_norm(state, state.shape[-1:])
        return hidden + F.linear(normed.to(self.weight.dtype), self.weight).to(hidden.dtype)


class FrozenBaseline(nn.Module):
    """A decoder that never trains and never drops out.

    Args:
        decoder: Without its language-modelling head.
        num_layers: Of the model beside which it runs.
    """

    def __init__(self, decoder: PreTrainedModel, num_layers: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.num_layers = num_layers
        for module in decoder.modules():
            # behind the layers of the model in the cache that both share
            index = getattr(module, "layer_idx", None)
            if isinstance(index, int):
                setattr(module, "layer_idx", index + num_layers)  # noqa: B010
                # the model's attention implementation is its too, also that for unequal groups
                module.ragged_group_sizes = ()  # type: ignore[assignment]
        self.eval()

    def train(self, mode: bool = True) -> "FrozenBaseline":  # noqa: ARG002
        """Stay in evaluation mode, and frozen: loading makes new parameters, and ends with this."""
        self.requires_grad_(False)
        return super().train(False)

    @torch.no_grad()
    def forward(self, **inputs: Any) -> list[Tensor]:
        """What each of its layers reads, [B, T, E'] each."""
        found = self.decoder(**inputs, output_hidden_states=True)
        return list(found.hidden_states[: self.decoder.config.num_hidden_layers])

    def shared_cache(self, cache: Any, config: PretrainedConfig) -> Any:
        """Give a cache the layers that the frozen model needs, unless it has them.

        Args:
            cache: Of the model beside which it runs.
            config: That model's.

        Raises:
            UsageError: for a cache of another kind, or one that a model without this baseline
                filled.
        """
        if type(cache) is not DynamicCache:
            raise UsageError(
                f"baseline integration cannot share a {type(cache).__name__}",
                "Use the default cache (DynamicCache), or use_cache=False.",
            )
        own = self.decoder.config
        if len(cache.layers) < self.num_layers + own.num_hidden_layers:
            if cache.get_seq_length():
                raise UsageError(
                    f"the cache holds {cache.get_seq_length()} tokens that the baseline of this "
                    "model has not read",
                    "Start from an empty cache.",
                )
            if not cache.layers:
                cache.layers.extend(DynamicCache(config=config).layers)
            cache.layers.extend(DynamicCache(config=own).layers)
        return cache


class BaselineHook:
    """Forward pre-hooks of the model and of its upper half. Holds tensors only between them."""

    def __init__(self, frozen: FrozenBaseline) -> None:
        self.frozen = frozen
        self._accepted = frozenset(inspect.signature(frozen.decoder.forward).parameters)
        self._states: list[Tensor] = []

    def read(
        self, model: PreTrainedModel, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Of the model: run the frozen one on the same tokens."""
        given = inspect.signature(model.forward).bind(*args, **kwargs).arguments
        # what the signature does not name
        given.update(given.pop("kwargs", {}))
        if given.get("input_ids") is None:
            raise UsageError(
                "a model with baseline integration reads token ids, and got embeddings",
                "Give input_ids.",
            )
        cache = given.get("past_key_values")
        caches = given.get("use_cache")
        caches = model.config.use_cache and not model.training if caches is None else caches
        if caches and cache is None:
            cache = DynamicCache(config=model.config)
        inputs: dict[str, Any] = {
            key: given[key]
            for key in ("input_ids", "attention_mask", "position_ids")
            if key in self._accepted and given.get(key) is not None
        }
        if cache is not None:
            inputs["past_key_values"] = self.frozen.shared_cache(cache, model.config)
            given["past_key_values"] = cache
        self._states = self.frozen(**inputs, use_cache=cache is not None)
        return (), given

    def state(self, share: float) -> Tensor:
        """What the layer at a relative depth in [0, 1) of the frozen model reads."""
        return self._states[int(share * len(self._states))]

    def clear(self) -> None:
        """Drop the states."""
        self._states = []


class MixHook:
    """Forward pre-hook of one layer."""

    def __init__(self, mix: BaselineMix, source: BaselineHook, share: float, is_last: bool) -> None:
        self.mix, self.source, self.share, self.is_last = mix, source, share, is_last

    def __call__(self, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Add to what the layer reads."""
        mixed = self.mix(args[0], self.source.state(self.share))
        if self.is_last:
            self.source.clear()
        return (mixed, *args[1:])


def attach_baseline(
    model: PreTrainedModel, layers: list[nn.Module], frozen: FrozenBaseline
) -> nn.ModuleList:
    """Mix the states of a frozen model into the upper half of the layers.

    Args:
        model: Whose calls start the frozen model.
        layers: Its decoder layers, called with their input as first argument.
        frozen: The frozen model.

    Returns:
        The maps, one for each layer of the upper half; the caller registers them.
    """
    first, count = len(layers) // 2, len(layers)
    sizes = model.config.hidden_size, frozen.decoder.config.hidden_size
    mixes = nn.ModuleList(BaselineMix(*sizes) for _ in range(first, count))
    source = BaselineHook(frozen)
    model.register_forward_pre_hook(source.read, with_kwargs=True)
    for layer, mix in zip(range(first, count), mixes, strict=True):
        hook = MixHook(mix, source, layer / count, layer == count - 1)  # type: ignore[arg-type]
        layers[layer].register_forward_pre_hook(hook)
    return mixes
