"""Put a pruned model's weights back into the dense layout, with zeros where something went.

The twin of removal for tools that know only stock models, as `bake` is for plans: what it returns
has the class and the size of the dense model and computes what the pruned one computes. Where every
weight goes is found by removing from a model of the same shape whose weights are their own places.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import norm_stays, structure_of
from sentinel_research.pruning.baking import bake
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.surgery import slice_state_dict


@torch.no_grad()
def expand(pruned: PreTrainedModel, dense: PreTrainedModel, plan: PruningPlan) -> PreTrainedModel:
    """A model of the dense layout that computes what a pruned one does.

    Args:
        pruned: What removal by the plan made of the dense model, trained or not; not changed.
        dense: The model before pruning, not changed; what the pruned model lacks and nothing reads
            (queries of pruned heads) is taken from it.
        plan: What stays.

    Returns:
        A new model, with the logits of `pruned` up to rounding.

    Raises:
        UsageError: if the pruned model has other parts than the plan leaves, or biases that the
            dense layout has no place for.
    """
    row, before = anatomy_of(dense.config), structure_of(dense.config)
    after = structure_of(pruned.config)
    if after.layers != plan.kept:
        raise UsageError(
            "the model has other parts than the plan leaves, and cannot be put back by it",
            "Give the plan that it was pruned by.",
        )
    expanded = bake(dense, plan).train(pruned.training)
    state = expanded.state_dict()
    places = slice_state_dict(
        {key: torch.arange(value.numel()).view(value.shape) for key, value in state.items()},
        row,
        before,
        before.reduced_to(plan.kept),
        keeps_norms=norm_stays(dense.config),
    )
    weights = pruned.state_dict()
    homeless = sorted(weights.keys() - places.keys())
    if homeless:
        raise UsageError(
            f"the dense layout has no place for {', '.join(homeless[:4])}",
            "Prune without `compensate: bias`, or keep the pruned layout.",
        )
    for key, value in weights.items():
        _scatter(state[key], places[key], value)
    return expanded


def _scatter(target: Tensor, places: Tensor, values: Tensor) -> None:
    """Write values into a tensor, in place.

    Args:
        target: Of any shape.
        places: Flat indices into it, in the shape of the values.
        values: At most as many as the target has.
    """
    # a state dict shares memory with its model, and a view writes through
    flat = target.view(-1)
    flat[places.flatten().to(flat.device)] = values.flatten().to(flat.device)
