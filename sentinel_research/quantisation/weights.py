"""Which weights of a model are quantised, and how: in place, in a copy, or while it computes.

Quantised are the weights of all projections that the anatomy table names, and in families that it
does not have all linear maps of the layers (Mamba, the resolvent); one grid for every output or for
groups of its inputs, whatever order their class stores them in. Embeddings, the output head,
norms, biases, gates, and what a model keeps between tokens (keys, values, recurrent states) are
not; reports list the parameters that were left out.
"""

import copy
import re
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import ANATOMIES, anatomy_of, family_of
from sentinel_research.models.layout import projection_paths, structure_of
from sentinel_research.quantisation.grid import fake_quantise, grid_of
from sentinel_research.specs import QuantiseSpec

_NUMBER = re.compile(r"\.\d+\.")

Keep = Mapping[str, Tensor]
"""By parameter name a tensor that broadcasts to it: entries that are 0 there keep every bit, and
no grid depends on them."""


class QuantiseReport(QuantiseSpec):
    """What quantising a model did."""

    num_weights: int
    """Weights that were rounded."""
    num_grids: int
    """Steps, each of one output or group."""
    relative_error: float = Field(ge=0)
    """Root mean square change of these weights over their root mean square."""
    left_out: tuple[str, ...]
    """Parameters that were not rounded; `*` stands for the number of a layer."""


def quantised_names(model: PreTrainedModel) -> list[str]:
    """The parameters that are quantised: the projections that the model still has.

    Raises:
        UsageError: for weights that are stored quantised already, or a model without any
            projection.
    """
    if getattr(model.config, "quantization_config", None) is not None:
        raise UsageError(
            "this model's weights are stored quantised already",
            "quantise the model that it was made from: load that one in float32 or bfloat16",
        )
    return projection_weights(model)


def projection_weights(model: PreTrainedModel) -> list[str]:
    """The weights of a model's projections, by their names.

    Raises:
        UsageError: for a model without any projection.
    """
    kind = model.config.model_type
    if family_of(model.config) not in ANATOMIES:
        names = _linear_maps(model)
        if not names:
            raise UsageError(
                f"which weights of a model of type '{kind}' can be quantised is not known",
                "families that can be are those with linear maps in numbered layers",
            )
        return names
    row, structure = anatomy_of(model.config), structure_of(model.config)
    names = [
        f"{path}.weight"
        for layer in range(structure.num_layers)
        for path in projection_paths(row, structure, layer)
    ]
    if not names:
        raise UsageError(f"pruning left this {kind} model no projection to quantise")
    return names


def _linear_maps(model: PreTrainedModel) -> list[str]:
    """The weights of all linear maps in layers, which have numbers; the output head has none."""
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _NUMBER.search(name)
    ]


def _is_transposed(model: PreTrainedModel) -> bool:
    """Whether the family stores inputs before outputs."""
    family = family_of(model.config)
    return family in ANATOMIES and anatomy_of(model.config).weight == "conv1d"


def rounded(
    model: PreTrainedModel, weight: Tensor, spec: QuantiseSpec, keep: Tensor | None = None
) -> Tensor:
    """One weight rounded, with straight-through gradients.

    Args:
        model: Whose family says in which order a weight is stored.
        weight: As stored.
        spec: The grids.
        keep: See `Keep`.
    """
    stays = None if keep is None else keep.to(weight.device) == 0
    free = weight if stays is None else weight.masked_fill(stays, 0)
    found = fake_quantise(free.T, spec).T if _is_transposed(model) else fake_quantise(free, spec)
    return found if stays is None else torch.where(stays, weight, found)


@torch.no_grad()
def quantise_in_place(
    model: PreTrainedModel, spec: QuantiseSpec, keep: Keep | None = None
) -> QuantiseReport:
    """Round the weights of a model.

    Args:
        model: Dense or pruned.
        spec: The grids.
        keep: What stays as it is.

    Returns:
        What it did.

    Raises:
        UsageError: see `quantised_names`; or a weight is not finite.
    """
    keep, names = keep or {}, quantised_names(model)
    is_transposed = _is_transposed(model)
    num_weights, num_grids = 0, 0
    squares = torch.zeros(2, dtype=torch.float64)
    for name in names:
        weight = model.get_parameter(name)
        if not bool(torch.isfinite(weight).all()):
            raise UsageError(
                f"{name} holds values that are not finite, and they have no grid",
                "look at the training that made them: its losses are in the record",
            )
        mask = keep.get(name)
        found = rounded(model, weight, spec, mask)
        moves = torch.ones_like(weight) if mask is None else (mask != 0).expand_as(weight)
        num_weights += int(moves.count_nonzero())
        num_grids += grid_of(weight.T if is_transposed else weight, spec).steps.numel()
        changes = torch.stack([(found - weight).double(), (weight * moves).double()])
        squares += changes.flatten(1).square().sum(1).cpu()
        weight.copy_(found)
    change, size = squares.sqrt().tolist()
    return QuantiseReport(
        **spec.model_dump(include=set(QuantiseSpec.model_fields)),
        num_weights=num_weights,
        num_grids=num_grids,
        relative_error=change / size if size else 0.0,
        left_out=left_out(model, set(names)),
    )


def quantised_copy(model: PreTrainedModel, spec: QuantiseSpec) -> PreTrainedModel:
    """A copy of a model with rounded weights.

    Its gradients are those that training through the rounding has: straight-through.

    Raises:
        UsageError: see `quantise_in_place`.
    """
    found = copy.deepcopy(model)
    quantise_in_place(found, spec)
    return found


def left_out(model: PreTrainedModel, quantised: set[str]) -> tuple[str, ...]:
    """The other parameters of a model; `*` stands for the number of a layer."""
    others = (name for name, _ in model.named_parameters() if name not in quantised)
    return tuple(dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in others))
