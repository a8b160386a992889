"""Every flag changes what is done, and what cannot be done is refused with what works."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from sentinel_research.errors import CheckpointError, DataError, UsageError
from sentinel_research.finetune.recipes import check_request, finetune_recipe, scorer_of
from sentinel_research.finetune.request import FinetuneRequest
from sentinel_research.specs import Recipe
from tests.finetune.conftest import Asked


def _words(value: Any) -> str | None:
    """The id of a case: its words, without dashes."""
    is_words = isinstance(value, list) and str(value[0]).startswith("--")
    return "-".join(value).replace("--", "") if is_words else None


def _value(recipe: Recipe, key: str) -> Any:
    node: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        node = node[part]
    return node


@pytest.mark.parametrize(
    ("words", "key", "expected"),
    [
        (["--tokenizer", "bytes"], "model.tokenizer", "bytes"),
        (["--prefix_token_id", "7"], "evaluate.prefix_token_id", 7),
        (["--pruning_level", "0.25"], "prune.fractions", [0.25]),
        (["--pruning_levels", "0.1,0.2"], "prune.fractions", [0.1, 0.2]),
        (["--pruning_levels", "0.1", "0.2"], "prune.fractions", [0.1, 0.2]),
        (
            ["--pruning_strategies", "random, entropy,magnitude"],
            "prune.scorers",
            ["random", "entropy_low", "magnitude_l2"],
        ),
        (["--pruning_strategies", "gradient"], "prune.scorers", ["gate_gradient"]),
        (["--pruning_strategies", "taylor"], "prune.scorers", ["taylor"]),
        (["--pruning_strategies", "entropy"], "prune.calibration.corpus", "shakespeare"),
        (["--pruning_strategies", "entropy"], "prune.calibration.sequence_length", 32),
        (["--optimization_level", "0"], "prune.form", "mask"),
        (["--optimization_level", "1"], "recover.layout", "dense"),
        (["--optimization_level", "3"], "recover.train.compile", True),
        (["--active_heads_only"], "recover.methods", {"heads": {}}),
        (["--dataset", "gutenberg"], "recover.train.corpus", "gutenberg"),
        (["--dataset", "gutenberg"], "evaluate.tasks", ["sentinel_gutenberg"]),
        (["--dataset", "wikitext"], "recover.train.corpus", "wikitext2"),
        (["--eval_dataset", "wikitext"], "evaluate.tasks", ["sentinel_wikitext2"]),
        (["--max_length", "16"], "recover.train.sequence_length", 16),
        (["--max_length", "16"], "evaluate.max_length", 16),
        (["--batch_size", "2"], "recover.train.batch_size", 2),
        (["--learning_steps", "7"], "recover.train.num_steps", 7),
        (["--learning_rate", "2e-5"], "recover.train.learning_rate", 2e-5),
        (["--eval_interval", "5"], "recover.train.validate_every", 5),
        (["--early_stop_patience", "2"], "recover.train.patience", 2),
        (["--eval_samples", "3"], "recover.train.validation_blocks", 3),
        (["--eval_samples", "3"], "evaluate.limit", 3),
        (["--limit", "1"], "evaluate.limit", 1),
        (["--seed", "7"], "recover.seeds", [7]),
        (["--seeds", "7", "8"], "recover.seeds", [7, 8]),
        (["--seeds", "7", "8"], "prune.seeds", [7, 8]),
        (["--save_checkpoints"], "recover.save_models", True),
        (["--device", "cuda:1"], "model.device", "cuda:1"),
    ],
    ids=_words,
)
def test_flag_changes_the_recipe(words: list[str], key: str, expected: Any, asked: Asked) -> None:
    changed = finetune_recipe(asked(*words))
    assert _value(changed, key) == expected
    part = key.rpartition(".")[0] if key.startswith("prune.calibration.") else key
    assert _value(finetune_recipe(asked()), part) != _value(changed, part)


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        ([], ["full"]),
        (["--per_head_lr"], ["per_head_lr"]),
        (["--adaptive_masking"], ["adaptive_masking"]),
        (["--use_adaptive_lr"], ["component_lr"]),
        (
            ["--adaptive_masking", "--per_head_lr", "--active_heads_only"],
            ["heads", "per_head_lr", "adaptive_masking"],
        ),
    ],
)
def test_recoveries_compose_in_one_order_whatever_the_order_of_the_flags(
    words: list[str], methods: list[str], asked: Asked
) -> None:
    recover = finetune_recipe(asked(*words)).recover
    assert recover is not None
    assert list(recover.methods) == methods


@pytest.mark.parametrize(
    "words",
    [
        ["--active_heads_only", "--per_head_lr"],
        ["--per_head_lr", "--use_adaptive_lr"],
        ["--active_heads_only", "--per_head_lr", "--adaptive_masking"],
    ],
)
def test_registered_recoveries_of_the_flags_can_be_combined(words: list[str], asked: Asked) -> None:
    check_request(asked(*words))


def test_epochs_are_passes_and_three_without_a_number(asked: Asked) -> None:
    one, three, default = (
        finetune_recipe(asked(*words)).recover
        for words in (["--epochs", "1"], ["--epochs", "3"], [])
    )
    assert one is not None
    assert three is not None
    assert default is not None
    assert three.train.num_steps == 3 * one.train.num_steps == default.train.num_steps
    # every pass is validated
    assert one.train.num_steps == one.train.validate_every == three.train.validate_every


def test_best_weights_are_kept_except_where_the_mask_changes(asked: Asked) -> None:
    kept = []
    for words in ([], ["--adaptive_masking"]):
        recover = finetune_recipe(asked(*words)).recover
        assert recover is not None
        kept.append(recover.train.keep)
    assert kept == ["best", "last"]


@pytest.mark.parametrize(
    ("flags", "trained", "measured"),
    [
        ({}, "synthetic", "synthetic"),
        ({"use_real_data": True}, "gutenberg", "gutenberg"),
        ({"dataset": "ptb"}, "ptb", "ptb"),
        ({"dataset": "ptb", "use_real_data": True}, "ptb", "ptb"),
        ({"eval_dataset": "ptb"}, "ptb", "ptb"),
        ({"dataset": "ptb", "eval_dataset": "c4"}, "ptb", "c4"),
    ],
    ids=str,
)
def test_datasets_are_named_or_chosen_by_real_data(
    flags: dict[str, Any], trained: str, measured: str
) -> None:
    request = FinetuneRequest(model_name="any", **flags)
    assert (request.train_dataset, request.measured_dataset) == (trained, measured)


def test_data_names_the_mirror(asked: Asked, tmp_path: Path) -> None:
    assert finetune_recipe(asked()).data is None
    with pytest.raises(DataError, match="tiny_shakespeare"):
        finetune_recipe(asked("--data", str(tmp_path)))


def test_corpus_without_validation_split_is_trained_on_without_validation(asked: Asked) -> None:
    words = ["--dataset", "tinystories", "--learning_steps", "3"]
    recover = finetune_recipe(asked(*words)).recover
    assert recover is not None
    assert (recover.train.validate_every, recover.train.keep) == (None, "last")
    with pytest.raises(UsageError, match="tinystories has no validation split"):
        finetune_recipe(asked(*words, "--eval_interval", "2"))


def test_published_names_are_scorers_of_the_package() -> None:
    names = ("random", "magnitude", "entropy", "gradient", "fisher")
    found = ["random", "magnitude_l2", "entropy_low", "gate_gradient", "fisher"]
    assert [scorer_of(name) for name in names] == found


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["--pruning_level", "0.5", "--pruning_levels", "0.1"], ["one of `pruning_level` and"]),
        (["--pruning_level", "1.5"], ["`pruning_level` = '1.5'", "less than or equal to 1"]),
        (["--pruning_levels", "0.1,half"], ["'half'"]),
        (["--pruning_levels", "0.1,0.1"], ["`pruning_levels` names a value twice: 0.1, 0.1"]),
        (
            ["--pruning_strategies", "magnitud"],
            ["unknown pruning strategy 'magnitud'", "Did you mean 'magnitude'?"],
        ),
        (
            ["--pruning_strategies", "magnitude,magnitude_l2"],
            ["names the scorer magnitude_l2 twice"],
        ),
        (["--pruning_strategies", "layer_influence"], ["or one not for heads"]),
        (["--epochs", "1", "--learning_steps", "5"], ["give one of `epochs` and `learning_steps`"]),
        (["--epochs", "0"], ["`epochs` = '0'", "greater than 0"]),
        (["--learning_rate", "0"], ["`learning_rate` = '0'", "greater than 0"]),
        (["--learning_rate", "-1e-5"], ["`learning_rate` = '-1e-5'"]),
        (["--batch_size", "0"], ["`batch_size` = '0'"]),
        (
            ["--dataset", "wikitex"],
            ["unknown dataset 'wikitex'", "Did you mean 'wikitext'?"],
        ),
        (["--eval_dataset", "gutenburg"], ["unknown dataset 'gutenburg'", "'gutenberg'"]),
        (["--dataset", "synthetic", "--use_real_data"], ["`use_real_data` contradicts"]),
        (["--optimization_level", "4"], ["`optimization_level` = 4", "0, 1, 2 or 3"]),
        (
            ["--optimization_level", "0", "--per_head_lr"],
            ["`optimization_level` 0 is the dense reference", "`per_head_lr` goes with 1, 2 or 3"],
        ),
        (["--optimization_level", "0", "--active_heads_only"], ["`active_heads_only` goes with"]),
        (["--optimization_level", "0", "--adaptive_masking"], ["`adaptive_masking` goes with"]),
        (["--optimization_level", "0", "--save_checkpoints"], ["which no checkpoint holds"]),
        (
            ["--adaptive_masking", "--early_stop_patience", "2"],
            ["ends with the mask of the last step"],
        ),
        (["--seed", "1", "--seeds", "2"], ["one of `seed` and `seeds`"]),
        (["--seeds", "2", "2"], ["`seeds` names a value twice: 2, 2"]),
        (
            ["--learning_steps", "3", "--eval_interval", "4", "--early_stop_patience", "1"],
            ["have no room for one every 4 steps", "--eval_interval 1"],
        ),
        (["--batch_size", "500"], ["fewer than one batch of 500"]),
        (["--model_name", "no/such/folder"], ["no model folder at no/such/folder"]),
        (["--tokenizer", "./nowhere"], ["no model folder at nowhere"]),
        (["--pruning_lvel", "0.5"], ["--pruning_lvel"]),
    ],
    ids=_words,
)
def test_request_that_cannot_be_carried_out_is_refused(
    words: list[str],
    messages: list[str],
    model_folder: Path,
    small_mirror: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = [] if "--model_name" in words else ["--model_name", str(model_folder)]
    text = [] if {"--dataset", "--eval_dataset"} & set(words) else ["--dataset", "shakespeare"]
    assert main(["finetune", "--quiet", *named, *text, "--max_length", "32", *words]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    for message in messages:
        assert message in captured.err
    assert "errors.pydantic.dev" not in captured.err
    assert "Traceback" not in captured.err
    # refused before anything was made
    assert not list(tmp_path.iterdir())


def test_model_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--quiet"]) == 2
    assert "model_name" in capsys.readouterr().err


def test_damaged_model_is_refused_before_the_text_is_read(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        check_request(asked("--model_name", str(tmp_path)))


@pytest.mark.parametrize(("device", "lacking"), [("cpu", "C++ compiler"), ("cuda", "Triton")])
def test_compiled_training_is_refused_without_a_compiler(
    device: str, lacking: str, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    request = asked("--optimization_level", "3", "--device", device)
    with pytest.raises(UsageError, match=lacking.replace("+", r"\+")) as caught:
        check_request(request)
    assert "--optimization_level 2" in caught.value.hint
    check_request(asked("--optimization_level", "2", "--device", device))
