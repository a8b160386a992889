"""Which weights the steps of a pruning see: the model's own, or rounded ones."""

import copy

from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.quantisation import QuantiseReport, quantise_in_place, quantised_copy
from sentinel_research.registry import get
from sentinel_research.specs import PruneSpec, QuantiseSpec


def scored_grid(spec: PruneSpec) -> QuantiseSpec | None:
    """The grid of the weights that a pruning's scorer sees; None for the model's own.

    Raises:
        UsageError: for a scorer that sets the weights that stay, where they would be rounded first.
    """
    if spec.quantise is None or spec.quantise.when == "after":
        return None
    if get("scorers", spec.scorer).solver:
        raise UsageError(
            f"{spec.scorer} chooses weights and sets those that stay in one go, and `quantise: "
            f"{{when: {spec.quantise.when}}}` rounds them before",
            "take `when: after`, or a scorer that only chooses, such as wanda",
        )
    return spec.quantise.grid


def as_scored(model: PreTrainedModel, spec: PruneSpec) -> PreTrainedModel:
    """The model that a pruning's scorer reads: the one given, or a copy with rounded weights.

    Gradients with respect to rounded weights are those that training through the rounding gives to
    the weights themselves (straight-through).

    Raises:
        UsageError: see `scored_grid` and `quantise_in_place`.
    """
    grid = scored_grid(spec)
    return model if grid is None else quantised_copy(model, grid)


def quantise_before(
    model: PreTrainedModel, spec: PruneSpec
) -> tuple[PreTrainedModel, QuantiseReport | None]:
    """The model that is pruned, and how it was rounded; the one given where nothing is asked for.

    Raises:
        UsageError: see `quantise_in_place`.
    """
    if spec.quantise is None or spec.quantise.when != "before":
        return model, None
    found = copy.deepcopy(model)
    return found, quantise_in_place(found, spec.quantise.grid)


def quantise_after(pruned: PreTrainedModel, spec: PruneSpec) -> QuantiseReport | None:
    """Round in place what pruning left, where that is asked for.

    Raises:
        UsageError: see `quantise_in_place`.
    """
    if spec.quantise is None or spec.quantise.when not in ("after", "joint"):
        return None
    return quantise_in_place(pruned, spec.quantise.grid)
