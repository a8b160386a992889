"""A model that computes with rounded weights while it trains, and keeps its own.

In front of every projection's forward pass its weight is hidden behind the rounded one, and comes
back behind it. Outside of it nothing differs: names, parameters, optimiser, checkpoints and what
other methods do to them are those of the plain model. (torch's parametrisations would rename the
weights in all of these, and change the projections' classes.)
"""

from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sentinel_research.quantisation.weights import Keep, quantised_names, rounded
from sentinel_research.specs import QuantiseSpec

_WEIGHT = "weight"


class RoundedForward:
    """Makes a model compute with rounded weights until it is removed.

    Args:
        model: Of a family with a row in the anatomy table.
        spec: The grids; they follow the weights from step to step.
        keep: See `Keep`.

    Raises:
        UsageError: see `quantised_names`.
    """

    def __init__(
        self, model: PreTrainedModel, spec: QuantiseSpec, keep: Keep | None = None
    ) -> None:
        self._model, self._spec, self._keep = model, spec, keep or {}
        self._handles: list[RemovableHandle] = []
        for name in quantised_names(model):
            self._attach(name)

    def remove(self) -> None:
        """The model computes with its own weights again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _attach(self, name: str) -> None:
        module = self._model.get_submodule(name.rpartition(".")[0])

        def hide(owner: nn.Module, _args: Any) -> None:
            own = owner._parameters[_WEIGHT]
            assert own is not None  # a projection has one
            # an attribute of the instance comes before its parameters
            owner.__dict__[_WEIGHT] = rounded(self._model, own, self._spec, self._keep.get(name))

        def show(owner: nn.Module, _args: Any, _output: Any) -> None:
            # a forward pass that failed before it was hidden has none
            owner.__dict__.pop(_WEIGHT, None)

        self._handles.append(module.register_forward_pre_hook(hide))
        self._handles.append(module.register_forward_hook(show, always_call=True))
