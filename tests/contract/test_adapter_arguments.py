"""Arguments of the lm-eval adapter that ask for a pruning."""

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.evaluation.arguments import prune_spec_from_args


def test_pruning_options_become_the_spec() -> None:
    from sentinel_research.specs import CalibrationSpec, PruneSpec

    arguments = {
        "prune": "gate_gradient",
        "prune_fraction": 0.5,
        "prune_granularity": "head+neuron",
        "prune_scope": "global",
        "prune_budget": "flops",
        "prune_normalise": "layer",
        "prune_form": "mask",
        "prune_compensate": "bias",
        "prune_min_per_layer": 0,
        "prune_seed": 3,
        "calibration_task": "sst2",
        "calibration_sequences": 8,
        "calibration_length": 9,
        "calibration_seed": 4,
        "batch_size": 1,
    }
    assert prune_spec_from_args(arguments) == PruneSpec(
        scorer="gate_gradient",
        fraction=0.5,
        granularity=("head", "neuron"),
        scope="global",
        budget="flops",
        normalise="layer",
        form="mask",
        compensate="bias",
        min_per_layer=0,
        seed=3,
        calibration=CalibrationSpec(task="sst2", num_sequences=8, sequence_length=9, seed=4),
    )
    assert arguments == {"batch_size": 1}


def test_one_kind_of_unit_and_a_corpus_become_the_spec() -> None:
    arguments = {"prune": "x", "prune_fraction": 0.5, "prune_granularity": "2:4"}
    spec = prune_spec_from_args({**arguments, "calibration": "ptb"})
    assert spec is not None
    assert spec.granularity == "2:4"
    assert spec.calibration is not None
    assert spec.calibration.corpus == "ptb"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prune": "random"}, "needs a fraction"),
        ({"prune_fraction": 0.5}, "give prune_fraction but no scorer"),
        ({"prune": "random", "prune_fraction": 1.5}, "fraction"),
        ({"prune": "random", "prune_fraction": 0.5, "prune_scope": "both"}, "scope"),
        ({"prune": "random", "prune_fraction": 0.5, "calibration_seed": 1}, "corpus"),
        ({"prune": "random", "prune_fraction": 0.5, "prune_granularity": "head+"}, "granularity"),
        (
            {"prune": "x", "prune_fraction": 0.5, "calibration": "ptb", "calibration_task": "cb"},
            "exactly one of `corpus` and `task`",
        ),
    ],
)
def test_pruning_option_that_makes_no_sense_is_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prune_spec_from_args(arguments)
