"""Faults to plant: silent ones, of every part whose numbers somebody believes."""

from agency_faults import AGENCY_FAULTS
from fault import Fault
from judging_faults import JUDGING_FAULTS
from model_faults import MODEL_FAULTS
from scoring_faults import SCORING_FAULTS
from surgery_faults import SURGERY_FAULTS
from training_faults import TRAINING_FAULTS

SELF_CHECK = Fault(
    "the self-check is off",
    "",
    "pruning/surgery.py",
    "    inputs = probe_inputs(model)\n    visible",
    "    return 0.0\n    inputs = probe_inputs(model)\n    visible",
    "",
)

FAULTS = (
    *SURGERY_FAULTS,
    *MODEL_FAULTS,
    *AGENCY_FAULTS,
    *SCORING_FAULTS,
    *TRAINING_FAULTS,
    *JUDGING_FAULTS,
)
