"""Make the withdrawal of heads physical: a plan without the heads that agency has withdrawn."""

from transformers import PreTrainedModel

from sentinel_research.models.agency import HeadState, head_states
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan


def plan_from_states(model: PreTrainedModel) -> PruningPlan:
    """A plan that removes the withdrawn heads of a gated model.

    Args:
        model: Of a known family, with gates; dense or pruned.

    Returns:
        A plan of scorer `agency`. Applied to the model it changes no logit, up to rounding, for the
        multiplier of a withdrawn head is 0; the other heads keep their gates.

    Raises:
        UsageError: if the model has no gates, or nothing would be left of it.

    Example:
        >>> from sentinel_research.models.agency import add_agency, withdraw_consent
        >>> from sentinel_research.models.tiny import tiny_model
        >>> from sentinel_research.specs import AgencySpec
        >>> model = add_agency(tiny_model("gpt2"), AgencySpec())
        >>> withdraw_consent(model, [(1, 4)])
        >>> plan_from_states(model).removed
        {'head': ['L1H4']}
    """
    structure, states = structure_of(model.config), head_states(model)
    heads = [
        [head for head in parts.heads if states[layer, head] is not HeadState.WITHDRAWN]  # type: ignore[index]
        for layer, parts in enumerate(structure.layers)
    ]
    return make_plan(structure, heads, scorer="agency", granularity=("head",))
