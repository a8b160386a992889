"""What an operator may decide about heads, and how a model's heads stand."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.agency.attach import GatedLayer, gated_layers
from sentinel_research.models.agency.classes import spec_of
from sentinel_research.models.agency.states import HeadState, Lock
from sentinel_research.structure import label


class Head(NamedTuple):
    """A head, by its original index: `Head(3, 7)` is printed `L3H7`."""

    layer: int
    """Layer index."""
    head: int
    """Head of the dense model's layer."""


def withdraw_consent(model: PreTrainedModel, heads: Iterable[tuple[int, int]]) -> None:
    """Withdraw heads until `release`, whatever the policy says.

    Args:
        model: With gates; the locks are stored with it.
        heads: Pairs of layer and original head index.

    Raises:
        UsageError: for a model without gates, or a head that it does not have; nothing changes.
    """
    _lock(model, heads, Lock.WITHDRAWN)


def hold_active(model: PreTrainedModel, heads: Iterable[tuple[int, int]]) -> None:
    """Keep heads active until `release`, whatever the policy says.

    Args:
        model: With gates; the locks are stored with it.
        heads: Pairs of layer and original head index.

    Raises:
        UsageError: for a model without gates, or a head that it does not have; nothing changes.
    """
    _lock(model, heads, Lock.ACTIVE)


def release(model: PreTrainedModel, heads: Iterable[tuple[int, int]]) -> None:
    """Leave heads to the policy again, which moves them at its next update.

    Args:
        model: With gates.
        heads: Pairs of layer and original head index.

    Raises:
        UsageError: for a model without gates, or a head that it does not have; nothing changes.
    """
    _lock(model, heads, Lock.NONE)


def head_states(model: PreTrainedModel) -> dict[Head, HeadState]:
    """The state of every gated head.

    Raises:
        UsageError: for a model without gates.
    """
    return {
        Head(place.layer, head): HeadState(code)
        for place in required_gates(model)
        for head, code in zip(place.heads, place.gate.state.tolist(), strict=True)
    }


def describe_agency(model: PreTrainedModel) -> dict[str, Any]:
    """What a record says about a model's agency, as JSON types.

    Returns:
        Nothing for a model without agency. Otherwise under `agency` the spec, and with gates under
        `num_heads` how many are in each state, under `heads` those that are not active.
    """
    spec = spec_of(model.config)
    if spec is None:
        return {}
    found: dict[str, Any] = {"spec": spec.model_dump(mode="json")}
    if spec.gate is not None:
        states = head_states(model)
        counts = [list(states.values()).count(state) for state in HeadState]
        found["num_heads"] = {s.name.lower(): n for s, n in zip(HeadState, counts, strict=True)}
        found["heads"] = {
            label(layer, "head", head): state.name.lower()
            for (layer, head), state in states.items()
            if state is not HeadState.ACTIVE
        }
    return {"agency": found}


def required_gates(model: PreTrainedModel) -> list[GatedLayer]:
    """All gates of a model.

    Raises:
        UsageError: if it has none.
    """
    places = gated_layers(model, model.config)
    if not places:
        raise UsageError(
            f"a model of type '{model.config.model_type}' has no head gates",
            "Add them: add_agency(model, AgencySpec(gate='static')).",
        )
    return places


def _lock(model: PreTrainedModel, heads: Iterable[tuple[int, int]], lock: Lock) -> None:
    places = {place.layer: place for place in required_gates(model)}
    asked = [Head(*head) for head in heads]
    for layer, head in asked:
        if layer not in places or head not in places[layer].heads:
            known = {index: list(place.heads) for index, place in places.items()}
            raise UsageError(f"there is no head L{layer}H{head}", f"Heads by layer: {known}.")
    for layer, head in asked:
        places[layer].gate.set_lock(places[layer].heads.index(head), lock)
