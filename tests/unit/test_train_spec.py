"""The TrainSpec refuses what does not fit together, and says why."""

import pytest
from pydantic import ValidationError

from sentinel_research.specs import TrainSpec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"corpus": []}, "name at least one corpus", id="none"),
        pytest.param({"corpus": ["a", "a"]}, "names 'a' twice", id="twice"),
        pytest.param({"accumulation_steps": 5}, "does not divide `batch_size` = 32", id="parts"),
        pytest.param({"keep": "best"}, "needs `validate_every`", id="best"),
        pytest.param({"betas": (0.9, 1.0)}, "are not both in", id="betas"),
        pytest.param(
            {"shares": {"a": 1.0}}, "`shares` names a, and the corpora are a, b", id="one"
        ),
        pytest.param({"shares": {"a": 0.5, "b": 0.4}}, "sum to 0.9, not to 1", id="sum"),
        pytest.param({"shares": {"a": 1.5, "b": -0.5}}, "must be above 0", id="negative"),
        pytest.param({"precision": "int8"}, "fp32", id="precision"),
        pytest.param({"samples": {"prompts": [], "every": 1}}, "at least 1 item", id="prompts"),
    ],
)
def test_training_that_does_not_fit_together_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSpec.model_validate({"corpus": ["a", "b"], "num_steps": 1, **changes})


def test_one_corpus_and_a_list_of_one_are_the_same_corpora() -> None:
    assert TrainSpec(corpus="a", num_steps=1).corpora == ("a",)
    assert TrainSpec(corpus=("a",), num_steps=1).corpora == ("a",)
    shares = {"a": 0.1, "b": 0.2, "c": 0.7}
    assert TrainSpec(corpus=("a", "b", "c"), num_steps=1, shares=shares).shares == shares
