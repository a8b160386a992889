"""Every flag changes what is done, and what cannot be done is refused with what works."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from sentinel_research.compare_agency.recipes import (
    check_request,
    measuring_recipe,
    training_recipe,
)
from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.errors import CheckpointError, UsageError
from tests.compare_agency.conftest import Asked


def _value(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content[part]
    return content


@pytest.mark.parametrize(
    ("words", "key", "expected"),
    [
        (["--precision", "bfloat16"], "model.dtype", "bfloat16"),
        (["--tokenizer", "bytes"], "model.tokenizer", "bytes"),
        (["--prefix_token_id", "7"], "evaluate.prefix_token_id", 7),
        (["--pruning_levels", "0,20,40"], "prune.fractions", [0, 0.2, 0.4]),
        (["--pruning_levels", "40", "20"], "prune.fractions", [0, 0.2, 0.4]),
        (["--pruning_method", "magnitude"], "prune.scorers", ["magnitude_l2"]),
        (["--pruning_method", "random"], "prune.scorers", ["random"]),
        (["--num_tokens", "9"], "evaluate.generation.max_new_tokens", 9),
        (["--max_prompts", "3"], "evaluate.generation.num_prompts", 3),
        (["--prompt_tokens", "5"], "evaluate.generation.prompt_tokens", 5),
        (["--batch_size", "3"], "evaluate.batch_size", 3),
        (["--dataset", "shakespeare"], "evaluate.tasks", ["sentinel_shakespeare"]),
        (["--dataset", "shakespeare"], "prune.calibration.corpus", "shakespeare"),
        (["--limit", "3"], "evaluate.limit", 3),
        (["--max_length", "32"], "evaluate.max_length", 32),
        (["--seed", "5"], "evaluate.generation.seed", 5),
        (["--seed", "5"], "prune.calibration.seed", 5),
    ],
)
def test_flag_changes_what_is_measured(
    asked: Asked, words: list[str], key: str, expected: Any
) -> None:
    recipes = [
        measuring_recipe(request, "plain", 0, 1.0).model_dump(mode="json")
        for request in (asked(*words), asked())
    ]
    assert _value(recipes[0], key) == expected
    assert _value(recipes[1], key) != expected


def test_data_is_the_mirror_of_models_and_text(
    plain_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used: list[Path] = []
    monkeypatch.setattr("sentinel_research.data.mirror.use_mirror", used.append)
    request = AgencyComparisonRequest(model_name=str(plain_folder), data=tmp_path, num_tokens=4)
    check_request(request)
    assert used == [tmp_path]
    assert measuring_recipe(request, "plain", 0, 1.0).data == str(tmp_path)


def test_device_is_that_of_both_models(asked: Asked) -> None:
    request = asked().model_copy(update={"device": "cuda"})
    for kind in ("plain", "agency"):
        assert measuring_recipe(request, kind, 0, 1.0).model.device == "cuda"  # type: ignore[arg-type]


def test_arms_are_forms_of_one_pruning(asked: Asked) -> None:
    plain, agency = (measuring_recipe(asked(), kind, 0, 1.0) for kind in ("plain", "agency"))  # type: ignore[arg-type]
    assert plain.prune is not None
    assert agency.prune is not None
    forms = {name: one.form for name, one in (plain.prune.variants | agency.prune.variants).items()}
    assert forms == {"masked": "mask", "removed": "remove", "random": "mask", "agency": "withdraw"}
    assert plain.prune.calibration == agency.prune.calibration
    assert plain.evaluate == agency.evaluate
    assert plain.model.agency is None


def test_iteration_draws_other_noise_masks_and_text(asked: Asked) -> None:
    first, second = (measuring_recipe(asked(), "plain", index, 1.0) for index in (0, 1))
    for recipe, seed in ((first, 0), (second, 1)):
        assert recipe.prune is not None
        assert recipe.prune.calibration is not None
        assert recipe.evaluate.generation is not None
        assert recipe.prune.seeds == [seed]
        assert recipe.prune.calibration.seed == recipe.evaluate.generation.seed == seed


def test_temperature_is_that_of_the_written_text(asked: Asked) -> None:
    assert asked("--temperatures", "0.7,1.2").temperatures == (0.7, 1.2)
    generation = measuring_recipe(asked(), "plain", 0, 0.7).evaluate.generation
    assert generation is not None
    assert generation.temperature == 0.7


def test_gates_and_states_are_those_that_are_asked_for(asked: Asked) -> None:
    agency = measuring_recipe(asked("--gate", "static"), "agency", 0, 1.0).model.agency
    assert agency is not None
    assert agency.gate == "static"
    assert agency.policy is not None
    frozen = measuring_recipe(asked("--frozen_states"), "agency", 0, 1.0).model.agency
    assert frozen is not None
    assert frozen.policy is None


def test_model_with_agency_of_its_own_gets_no_other_gates(asked: Asked, plain_folder: Any) -> None:
    request = asked("--agency_model", str(plain_folder))
    recipe = measuring_recipe(request, "agency", 0, 1.0)
    assert recipe.model.pretrained == str(plain_folder)
    assert recipe.model.agency is None


def test_without_a_model_a_small_one_is_trained_with_agency_and_without() -> None:
    request = AgencyComparisonRequest(learning_steps=7, seed=3)
    plain, agency = (training_recipe(request, kind, 1) for kind in ("plain", "agency"))  # type: ignore[arg-type]
    assert plain.train is not None
    assert (plain.train.num_steps, plain.train.seed) == (7, 4)
    assert plain.train == agency.train
    assert (plain.model.agency is None, agency.model.agency is None) == (True, False)


def test_preset_fills_in_what_is_not_given() -> None:
    assert AgencyComparisonRequest(preset="debug").num_tokens == 8
    assert AgencyComparisonRequest(preset="debug", num_tokens=5).num_tokens == 5
    cpu = AgencyComparisonRequest(preset="cpu")
    assert (cpu.device, cpu.precision) == ("cpu", "float32")
    colab = AgencyComparisonRequest(preset="colab")
    assert (colab.model_name, colab.device, colab.precision) == ("gpt2", "cuda", "float16")


def test_preset_on_the_command_line_gives_way_to_flags(asked: Asked) -> None:
    request = asked("--preset", "debug")
    # SMALL gives its own
    assert (request.num_tokens, request.learning_steps) == (4, 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pruning_levels", "20,20"], "`pruning_levels` names a value twice"),
        (["--pruning_levels", "0"], "holds only 0, which is the dense model"),
        (["--pruning_levels", "100"], "less than 100"),
        (["--temperatures", "1,1.0"], "`temperatures` names a value twice"),
        (["--max_prompts", "1"], "greater than 1"),
        (["--iterations", "0"], "greater than 0"),
        (["--precision", "int7"], "float32"),
        (["--pruning_method", "entrpy"], "unknown pruning strategy 'entrpy'"),
        (["--dataset", "wikitxt"], "unknown dataset 'wikitxt'"),
        (["--num_tokens", "200"], "are 209 tokens, the model's context is 128"),
    ],
)
def test_request_that_cannot_be_carried_out_is_refused(
    plain_folder: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.compare_agency.conftest import SMALL
    from tests.mamba_vs_bk.conftest import merged

    given = merged("--model_name", str(plain_folder), *SMALL, *words)
    assert main(["compare-agency", "--dry_run", *given]) == 2
    assert message in capsys.readouterr().err


def test_agency_model_without_a_plain_one_is_refused() -> None:
    with pytest.raises(ValueError, match="give `model_name` too"):
        AgencyComparisonRequest(agency_model="x")


def test_missing_models_are_refused_before_anything_runs(plain_folder: Any) -> None:
    for names in (("no/such", None), (str(plain_folder), "no/such")):
        request = AgencyComparisonRequest(model_name=names[0], agency_model=names[1])
        with pytest.raises(CheckpointError, match="no/such"):
            check_request(request)


def test_memory_that_cannot_be_measured_is_refused_and_never_left_out_unsaid(
    plain_folder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sentinel_research.memory._RESET", tmp_path / "absent")
    request = AgencyComparisonRequest(model_name=str(plain_folder), num_tokens=4)
    check_request(request)
    with pytest.raises(UsageError, match="keeps no peak that can start anew"):
        check_request(request.model_copy(update={"memory_logging": True}))
