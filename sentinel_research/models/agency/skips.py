"""U-Net connections: a layer of the upper half also receives what a layer of the lower half read.

Layer `L - 1 - i` reads `h + W_f [h; e_i]` instead of `h`, where `e_i` is what layer `i` read and
`W_f` is [E, 2E], for every `i < L // 2`. `W_f` starts at zero, so the model starts unchanged, and
it acts on single positions, so no layer sees the future.

Reference: the form is that of sentinel-ai's `UNetTransformer`
(https://github.com/CambrianTech/sentinel-ai); its scale `s` is left out, for `W_f` can hold it, and
its random initial `W_f` is zero here.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SkipFusion(nn.Module):
    """Adds a learned map of a layer's input and an earlier layer's input.

    Args:
        hidden_size: Width `E` of the residual stream.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size, 2 * hidden_size))

    def reset_parameters(self) -> None:
        """The state of rest: the identity."""
        nn.init.zeros_(self.weight)

    def forward(
        self,
        hidden: Float[Tensor, "batch time hidden"],
        earlier: Float[Tensor, "batch time hidden"],
    ) -> Float[Tensor, "batch time hidden"]:
        """`h + W_f [h; e]` at every position."""
        return hidden + F.linear(torch.cat([hidden, earlier], dim=-1), self.weight)


class SkipHook:
    """Forward pre-hooks of a pair of layers. Holds a tensor only between the two."""

    def __init__(self, fusion: SkipFusion) -> None:
        self.fusion = fusion
        self._earlier: Tensor | None = None

    def read(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Of the earlier layer: keep what it reads."""
        self._earlier = args[0]

    def __call__(self, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of the later layer: add to what it reads."""
        earlier, self._earlier = self._earlier, None
        assert earlier is not None  # layers run in their order
        return (self.fusion(args[0], earlier), *args[1:])


def attach_skips(layers: list[nn.Module], hidden_size: int) -> nn.ModuleList:
    """Connect layer `i` with layer `L - 1 - i`, for every `i < L // 2`.

    Args:
        layers: Decoder layers, called with their input as first argument.
        hidden_size: Width of the residual stream.

    Returns:
        The fusions, that of the outermost pair first; the caller registers them.
    """
    fusions = nn.ModuleList(SkipFusion(hidden_size) for _ in range(len(layers) // 2))
    for index, fusion in enumerate(fusions):
        hook = SkipHook(fusion)  # type: ignore[arg-type]
        layers[index].register_forward_pre_hook(hook.read)
        layers[len(layers) - 1 - index].register_forward_pre_hook(hook)
    return fusions
