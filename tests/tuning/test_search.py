"""What a search proposes, when it gives a trial up, and what it spent."""

import importlib.util

import pytest

from sentinel_research.comparison.search import Search, check_optuna, outcome, propose, stopped_at
from sentinel_research.errors import UsageError
from sentinel_research.recipe import load_recipe
from sentinel_research.specs import TuneSpec
from tests.tuning.conftest import stopped, tiny_recipe, trial

SPEC = TuneSpec(trials=8)
DIVERGED = {"diverged": {"step": 2, "reason": "the loss is nan"}}


def _proposed(spec: TuneSpec, num: int) -> list[dict[str, float]]:
    """Trials one after the other, whose loss is the distance of the rate to 0.003."""
    cells = []
    for number in range(num):
        settings = propose(spec, cells, number)
        loss = abs(settings["learning_rate"] - 0.003)
        cells.append(trial(number, [loss], settings))
    return [cell.arm.settings for cell in cells if cell.arm and cell.arm.settings]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_two_searches_have_the_same_trials_and_another_seed_has_others(sampler: str) -> None:
    spec = TuneSpec.model_validate({"trials": 8, "sampler": sampler})
    first = _proposed(spec, 8)
    assert first == _proposed(spec, 8)
    assert len({one["learning_rate"] for one in first}) == 8
    assert first != _proposed(spec.model_copy(update={"seed": 1}), 8)


def test_settings_lie_in_their_ranges() -> None:
    spec = TuneSpec(
        trials=6,
        space={"learning_rate": (1e-4, 1e-2, "log"), "weight_decay": (0.0, 0.1, "linear")},
    )
    for one in _proposed(spec, 6):
        assert 1e-4 <= one["learning_rate"] <= 1e-2
        assert 0 <= one["weight_decay"] <= 0.1


def test_sampler_learns_from_losses() -> None:
    near = [abs(one["learning_rate"] - 0.003) for one in _proposed(TuneSpec(trials=20), 20)]
    far = [
        abs(one["learning_rate"] - 0.003)
        for one in _proposed(TuneSpec(trials=20, sampler="random"), 20)
    ]
    assert sum(near[10:]) < sum(far[10:])


def test_trial_worse_than_the_median_of_four_complete_ones_is_given_up() -> None:
    before = [trial(at, [float(at), 0.0]) for at in range(4)]
    worse, better = [{"step": 2, "loss": 2.0}], [{"step": 2, "loss": 1.0}]
    assert stopped_at(SPEC, before, worse, 4) == 2
    assert stopped_at(SPEC, before, better, 4) is None
    assert stopped_at(SPEC, before[:3], worse, 4) is None
    # after its last step nothing is left to give up
    assert stopped_at(SPEC, before, worse, 2) is None
    none = SPEC.model_copy(update={"pruner": "none"})
    assert stopped_at(none, before, worse, 4) is None


def test_trial_that_diverged_counts_in_the_budget_and_is_not_trained_again() -> None:
    cells = [trial(0, [1.0, 0.5]), trial(1, [3.0], **DIVERGED), stopped(2, [2.0])]
    cells[2].train = {**(cells[2].train or {})}
    own = Search(SPEC, cells, 4)
    assert [outcome(cell) for cell in cells] == ["complete", "diverged", "stopped"]
    assert [own.settle(cell) for cell in cells] == [True, False, True]
    other = trial(0, [])
    found = own.choose([other])
    assert found["num_trials"] == 3
    assert [found[f"num_{end}"] for end in ("complete", "stopped", "diverged", "failed")] == [
        *(1, 1, 1, 0)
    ]
    assert (found["num_steps"], found["num_tokens"], found["seconds"]) == (8, 800, 3.0)
    assert found["chosen"] == {"cell": "gpt2-seed0-trial0", "learning_rate": 0.01}
    assert found["at_edge"] == ["learning_rate"]
    assert other.arm is not None
    assert other.arm.settings == {"learning_rate": 0.01}
    assert [cell.arm.is_chosen for cell in cells if cell.arm] == [True, False, False]


def test_search_in_which_everything_diverged_chooses_nothing() -> None:
    own = Search(SPEC, [trial(0, [], **DIVERGED)], 4)
    assert own.choose([])["chosen"] is None


def test_search_without_optuna_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        check_optuna()
    assert "pip install sentinel-research[search]" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["tune.trials=0"], "greater than 0"),
        (["tune.space={depth: [1, 2, linear]}"], "'depth' cannot be searched"),
        (["tune.space={learning_rate: [0.1, 0.01, log]}"], "low is below high"),
        (["tune.space={weight_decay: [0, 0.1, log]}"], "must be above 0"),
        (["tune.space={warmup_fraction: [0, 2, linear]}"], "at most 1"),
        (["tune.space={}"], "at least 1"),
        (["compare.learning_rates=[0.1, 0.2]"], "takes the place of the grid"),
        (["train.validate_every=null", "train.keep=last"], "needs `train.validate_every`"),
        (["evaluate.tasks=[sentinel_synthetic_validation]"], "name a task of text"),
        (
            ["tune.space={min_learning_rate_fraction: [0, 1, linear]}", "train.schedule=linear"],
            "is for cosine",
        ),
    ],
)
def test_search_that_makes_no_sense_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_recipe(*changes)


def test_search_without_architectures_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to search for"):
        load_recipe("demo", ["tune.trials=3"])


def test_recipe_without_a_search_is_the_request_that_it_was() -> None:
    recipe = load_recipe("demo").recipe
    # that of every record before there was a search
    assert recipe.fingerprint() == "9e7872edfe01e446"
    assert tiny_recipe().fingerprint() != tiny_recipe("tune.seed=1").fingerprint()
