"""A comparison's recipe refuses what would not be a comparison, and says why."""

from typing import Any

import pytest
from pydantic import ValidationError

from sentinel_research.specs import AgencySpec, CompareSpec, Recipe

BASE: dict[str, Any] = {
    "name": "mine",
    "description": "two",
    "model": {},
    "train": {"corpus": "synthetic", "num_steps": 1, "validate_every": 1},
    "compare": {"architectures": {"a": {"architecture": "gpt2"}}, "seeds": [0, 1]},
    "evaluate": {"tasks": ["sentinel_synthetic"], "max_length": 8},
}


def _recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({**BASE, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"model": {"architecture": "gpt2"}}, "leave `model.architecture` out", id="m"),
        pytest.param({"model": {"agency": {}}}, "give it to one of `compare.arch", id="agency"),
        pytest.param({"train": None}, "`compare` needs `train`", id="train"),
        pytest.param(
            {"prune": {"scorers": ["random"], "fractions": [0.5]}}, "leave `prune`", id="prune"
        ),
        pytest.param({"evaluate": {"tasks": ["t"]}}, "needs `evaluate.max_length`", id="window"),
        pytest.param({"evaluate": {"tasks": [], "max_length": 8}}, "names no task", id="tasks"),
        pytest.param(
            {
                "train": {"corpus": "synthetic", "num_steps": 1},
                "compare": {**BASE["compare"], "learning_rates": [0.1, 0.2]},
            },
            "needs `train.validate_every`",
            id="grid",
        ),
    ],
)
def test_recipe_that_compares_nothing_comparable_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    assert _recipe().compare is not None
    with pytest.raises(ValidationError, match=message):
        _recipe(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": {"Big Model": {"architecture": "gpt2"}}}, "cannot be a name"),
        ({"architectures": {"ngram2": {"architecture": "gpt2"}}}, "no beginning with 'ngram'"),
        ({"architectures": {}}, "at least 1 item"),
        ({"seeds": [1, 1]}, "`seeds` names a value twice"),
        ({"seeds": []}, "at least 1 item"),
        ({"learning_rates": [0.1, -1]}, "must be above 0"),
        ({"ngrams": [0]}, "orders from 1 on"),
        ({"control": "b"}, "`control` = 'b' is none of `architectures`: a"),
    ],
    ids=["letters", "floor", "none", "seed-twice", "no-seed", "rate", "order", "control"],
)
def test_comparison_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompareSpec.model_validate({**BASE["compare"], **changes})


PLAIN: dict[str, Any] = {"architecture": "gpt2"}
GATED = {**PLAIN, "agency": {"gate": "static"}}
BESIDE_A = {**PLAIN, "agency": {"gate": None, "baseline": "compare:a"}}


@pytest.mark.parametrize(
    ("architectures", "message"),
    [
        ({"b": BESIDE_A}, r"'b' is `compare:a`: name one .* before it \(there is none\)"),
        ({"b": BESIDE_A, "a": PLAIN}, "before it"),
        ({"a": BESIDE_A}, "before it"),
        ({"a": GATED, "b": BESIDE_A}, "the baseline 'a' of 'b' must be without `agency`"),
    ],
    ids=["unknown", "later", "itself", "gated"],
)
def test_baseline_that_is_not_trained_before_is_refused(
    architectures: dict[str, Any], message: str
) -> None:
    spec = CompareSpec.model_validate({"architectures": {"a": PLAIN, "b": BESIDE_A}, "seeds": [0]})
    assert spec.baselines == {"b": "a"}
    with pytest.raises(ValidationError, match=message):
        CompareSpec.model_validate({"architectures": architectures, "seeds": [0]})


def test_single_model_has_no_baseline_of_a_comparison() -> None:
    model = {"architecture": "gpt2", "agency": {"baseline": "compare:a"}}
    with pytest.raises(ValidationError, match="names a model of a comparison, and here is none"):
        _recipe(model=model, compare=None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "static gates"),
        ({"gate": "input", "policy": {}}, "input gates, states by policy"),
        ({"gate": None, "skips": True}, "U-Net skips"),
        ({"gate": None, "baseline": "runs/a/model"}, "frozen runs/a/model"),
        ({"gate": None, "baseline": "compare:a"}, "frozen a of its seed"),
    ],
    ids=["gates", "states", "skips", "folder", "compared"],
)
def test_agency_says_what_it_adds(fields: dict[str, Any], words: str) -> None:
    assert AgencySpec(**fields).in_words() == words


def test_recipe_without_tasks_only_trains() -> None:
    train = {"model": {"architecture": "gpt2"}, "compare": None, "evaluate": {"tasks": []}}
    assert _recipe(**train).evaluate.tasks == []
    with pytest.raises(ValidationError, match="only training goes without one"):
        _recipe(**{**train, "model": {"pretrained": "x"}, "train": None})
