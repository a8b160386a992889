"""Agency: gates on the heads of any model, states that a policy moves, and optional extra paths.

`add_agency` and `remove_agency` convert a model; `HeadGate` stands in mixers of our own. At rest a
model with agency computes the bits of the model without.
"""

from sentinel_research.models.agency.attach import GatedLayer, gated_layers
from sentinel_research.models.agency.classes import AGENCY_CLASSES, spec_of
from sentinel_research.models.agency.consent import (
    Head,
    describe_agency,
    head_states,
    hold_active,
    release,
    withdraw_consent,
)
from sentinel_research.models.agency.convert import add_agency, remove_agency
from sentinel_research.models.agency.gate import HeadGate
from sentinel_research.models.agency.states import HeadState, HeadStatistics, Lock

__all__ = [
    "AGENCY_CLASSES",
    "GatedLayer",
    "Head",
    "HeadGate",
    "HeadState",
    "HeadStatistics",
    "Lock",
    "add_agency",
    "describe_agency",
    "gated_layers",
    "head_states",
    "hold_active",
    "release",
    "remove_agency",
    "spec_of",
    "withdraw_consent",
]
