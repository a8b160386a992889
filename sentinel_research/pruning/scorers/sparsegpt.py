"""Layer-wise reconstruction: choose weights and update the others so that outputs change least.

Layers are solved one after the other, each on the outputs of the layers before it as they are
after pruning; all projections of a layer are solved from one pass.

Reference: [1] Frantar & Alistarh 2023, SparseGPT, section 3 and algorithm 1,
https://arxiv.org/abs/2301.00774.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import projection_paths, structure_of
from sentinel_research.models.modes import evaluating
from sentinel_research.pruning.calibrate import check_calibration, forward
from sentinel_research.pruning.sparsegpt import sparsegpt as solve
from sentinel_research.registry import scorer
from sentinel_research.specs import PruneSpec

_GROUP = (2, 4)


@scorer(
    "sparsegpt",
    summary="exact layer-wise solver: removes weights and updates the rest of the matrix",
    reference="Frantar & Alistarh 2023, algorithm 1, https://arxiv.org/abs/2301.00774",
    units=("weight",),
    solver=True,
)
@torch.no_grad()
def sparsegpt(
    model: PreTrainedModel, spec: PruneSpec, calibration: CalibrationSet
) -> tuple[PreTrainedModel, dict[str, Bool[Tensor, "outputs inputs"]]]:
    """Prune a model in place, layer by layer.

    Args:
        model: A copy that may be changed.
        spec: Its fraction and granularity (`weight` or `2:4`).
        calibration: The text.

    Returns:
        The model, and for every projection which weights stay.

    Raises:
        UsageError: if the text does not suit the model, or a width does not divide by four.
    """
    check_calibration(calibration, model)
    row, structure = anatomy_of(model.config), structure_of(model.config)
    batch_size = spec.calibration.batch_size if spec.calibration else 16
    keeps = {}
    with evaluating(model):
        for layer in range(structure.num_layers):
            paths = projection_paths(row, structure, layer)
            if not paths:
                continue
            grams = _input_grams(model, paths, calibration, batch_size)
            for path in paths:
                stored = model.get_submodule(path).get_parameter("weight")
                weight = stored if row.weight == "linear" else stored.T
                asked: dict[str, Any] = (
                    {"fraction": None, "group": _GROUP}
                    if "2:4" in spec.granularities and spec.fraction
                    else {"fraction": spec.fraction}
                )
                solved = solve(weight.cpu(), grams[path], **asked)
                keeps[path] = solved.keep
                weight.copy_(solved.weight.to(weight.device))
    return model, keeps


class _LayerDone(Exception):  # noqa: N818  (a signal, not an error)
    """The layer of interest has run; the rest of the model need not."""


class _GramHook:
    """Forward pre-hook that adds `X X^T` of a projection's input over text positions."""

    def __init__(self) -> None:
        self.gram: Tensor | None = None
        self.is_text: Tensor | None = None
        self.ends = False

    def __call__(self, _module: nn.Module, args: tuple[Tensor]) -> None:
        assert self.is_text is not None  # set before every pass
        hidden = args[0].reshape(-1, args[0].shape[-1])[self.is_text.flatten()].float()
        gram = (hidden.T @ hidden).double().cpu()
        self.gram = gram if self.gram is None else self.gram + gram
        if self.ends:
            raise _LayerDone


def _input_grams(
    model: PreTrainedModel, paths: list[str], calibration: CalibrationSet, batch_size: int
) -> dict[str, Float64[Tensor, "inputs inputs"]]:
    """Gram matrices of the inputs of one layer's projections."""
    hooks = {path: _GramHook() for path in paths}
    hooks[paths[-1]].ends = True
    handles = [
        model.get_submodule(path).register_forward_pre_hook(hook) for path, hook in hooks.items()
    ]
    try:
        for start in range(0, len(calibration), batch_size):
            part = calibration.select(slice(start, start + batch_size)).to(model.device)
            for hook in hooks.values():
                hook.is_text = part.is_text
            try:
                forward(model, part)
            except _LayerDone:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return {path: hook.gram for path, hook in hooks.items() if hook.gram is not None}
