"""Pruning by withdrawn consent: from a plan to withdrawn heads, and from these to a plan."""

import copy

from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import HeadState, head_states, spec_of, withdraw_consent
from sentinel_research.models.agency.consent import required_gates
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.head_statistics import update_heads
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


def withdraw(
    model: PreTrainedModel, plan: PruningPlan, text: CalibrationSet | None = None
) -> PreTrainedModel:
    """A copy of a gated model in which the heads that a plan removes have withdrawn their consent.

    The locks are stored with the model, and no policy gives the heads back. Where the model has a
    policy, it then looks at the heads that stay once, on the first of the text, and moves their
    states; without text, or without a policy, they stay as they are.

    Args:
        model: Of a known family, with gates; it is not changed.
        plan: Removes heads and nothing else.
        text: Never of what the model is evaluated on.

    Returns:
        The copy. Without a policy it computes what `mask(model, plan)` computes.

    Raises:
        UsageError: if the model has no gates, or the plan removes something else than heads.
        CheckFailedError: see `head_statistics.measure_heads`.
    """
    others = sorted(plan.num_removed.keys() - {"head", "kv_head"})
    if others:
        raise UsageError(
            f"`form: withdraw` withdraws heads, and the plan removes {' and '.join(others)} too",
            "Take `granularity: head` or `kv_group`, or `form: mask`.",
        )
    found = copy.deepcopy(model)
    places = required_gates(found)
    dropped = zip(plan.before.layers, plan.kept, strict=True)
    withdraw_consent(
        found,
        [
            (layer, head)
            for layer, (before, kept) in enumerate(dropped)
            for head in sorted(set(before.heads) - set(kept.heads))
        ],
    )
    spec = spec_of(found.config)
    if text is None or spec is None or spec.policy is None:
        return found
    for place in places:
        place.gate.train()
    update_heads(found, text.select(slice(spec.policy.num_sequences)))
    for place in places:
        place.gate.eval()
    return found
