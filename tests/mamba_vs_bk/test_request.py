"""Every flag changes what is done, and what cannot be done is refused with what works."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sentinel_research.mamba_vs_bk.run as benchmark
from sentinel_research.cli import main
from sentinel_research.comparison import match_all
from sentinel_research.errors import DataError
from sentinel_research.mamba_vs_bk.recipes import check_request, corpus_of, dataset_recipe
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.specs import Recipe
from tests.mamba_vs_bk.conftest import merged

# after a small corpus: 2,800 bytes are 87 blocks of 32, 21 steps of 4
BASE = ["--model", "bk", "--dataset", "shakespeare", "--seq_len", "32", "--batch_size", "4"]
BASE += ["--d_model", "16", "--n_layers", "1"]
Asked = Callable[..., BenchmarkRequest]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The request that words of the command line become; nothing runs."""

    def make(*words: str) -> BenchmarkRequest:
        seen: list[BenchmarkRequest] = []

        def note(request: BenchmarkRequest, **_: Any) -> benchmark.Outcome:
            seen.append(request)
            return benchmark.Outcome((), {}, ())

        monkeypatch.setattr(benchmark, "run_benchmark", note)
        assert main(["mamba-vs-bk", "--quiet", *merged(*words)]) == 0
        return seen[0]

    return make


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
        (["--dataset", "ptb"], "train.corpus", "ptb"),
        (["--seq_len", "16"], "train.sequence_length", 16),
        (["--seq_len", "16"], "evaluate.max_length", 16),
        (["--bits", "16"], "train.precision", "bf16"),
        (["--batch_size", "2"], "train.batch_size", 2),
        (["--lr", "0.004"], "train.learning_rate", 0.004),
        (["--lr", "0.004", "0.001"], "compare.learning_rates", [0.004, 0.001]),
        (["--grad_clip", "0.5"], "train.max_grad_norm", 0.5),
        (["--weight_decay", "0.2"], "train.weight_decay", 0.2),
        (["--num_steps", "8", "--warmup_steps", "2"], "train.warmup_fraction", 0.25),
        (["--num_steps", "7"], "train.num_steps", 7),
        (["--match", "none"], "compare.match", None),
        (["--match", "flops"], "compare.match.what", "flops"),
        (["--seed", "7"], "compare.seeds", [7]),
        (["--seeds", "7", "8"], "compare.seeds", [7, 8]),
        (["--device", "cuda:1"], "model.device", "cuda:1"),
        (["--no_checkpoint"], "compare.save_models", False),
        (["--validation_blocks", "3"], "train.validation_blocks", 3),
        (["--limit", "2"], "evaluate.limit", 2),
        (["--d_model", "24"], "compare.architectures.bk.config.hidden_size", 24),
        (["--n_layers", "3"], "compare.architectures.bk.config.num_hidden_layers", 3),
    ],
    ids=_words,
)
def test_flag_changes_the_recipe(
    words: list[str], key: str, expected: Any, asked: Asked, small_mirror: Path
) -> None:
    recipes = []
    for request in (asked(*BASE), asked(*BASE, *words)):
        recipes.append(dataset_recipe(request, request.dataset_names[0]))
    plain, changed = (_value(recipe, key) for recipe in recipes)
    assert plain != expected
    assert changed == expected


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("mamba", ["mamba"]),
        ("bk", ["bk"]),
        ("mamba2", ["mamba2"]),
        ("transformer", ["transformer"]),
        ("agency", ["agency"]),
        ("both", ["mamba", "bk"]),
        ("all", ["mamba", "bk", "mamba2", "transformer", "agency"]),
    ],
)
def test_model_chooses_the_architectures(
    model: str, names: list[str], asked: Asked, small_mirror: Path
) -> None:
    recipe = dataset_recipe(asked(*BASE, "--model", model), "shakespeare")
    assert recipe.compare is not None
    assert list(recipe.compare.architectures) == names


def test_epochs_are_passes_over_the_blocks_and_each_is_validated(
    asked: Asked, small_mirror: Path
) -> None:
    one, three = (
        dataset_recipe(asked(*BASE, "--epochs", number), "shakespeare").train for number in "13"
    )
    assert one is not None
    assert three is not None
    assert three.num_steps == 3 * one.num_steps == 3 * (one.validate_every or 0)


def test_tokenizer_is_bytes_unless_another_is_named(
    asked: Asked, small_mirror: Path, tmp_path: Path
) -> None:
    from sentinel_research.data.synthetic import word_tokenizer

    word_tokenizer(["to", "be"]).save_pretrained(tmp_path)
    plain, other = asked(*BASE), asked(*BASE, "--tokenizer", str(tmp_path))
    recipes = [dataset_recipe(request, "shakespeare") for request in (plain, other)]
    assert [recipe.model.tokenizer for recipe in recipes] == ["bytes", str(tmp_path)]
    steps = [recipe.train.num_steps for recipe in recipes if recipe.train is not None]
    # a word has several bytes
    assert steps[1] < steps[0] / 2


def test_data_names_the_mirror(
    asked: Asked, small_mirror: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SENTINEL_DATA", str(tmp_path))
    with pytest.raises(DataError, match="ptb-text-only"):
        dataset_recipe(asked(*BASE), "ptb")
    recipe = dataset_recipe(asked(*BASE, "--data", str(small_mirror)), "ptb")
    assert recipe.data == str(small_mirror)


def test_several_datasets_are_named_or_the_published_three(asked: Asked) -> None:
    words = ["--model", "bk", "--multi_dataset"]
    assert asked(*words).dataset_names == ("wikitext-2", "wikitext-103", "ptb")
    assert asked(*words, "--datasets", "c4", "pile").dataset_names == ("c4", "pile")
    assert asked("--model", "bk").dataset_names == ("wikitext-2",)
    assert asked("--model", "bk").all_seeds == (42,)


def test_published_names_are_corpora_of_the_package() -> None:
    found = [corpus_of(name) for name in ("wikitext-2", "wikitext-103", "ptb", "c4", "pile")]
    assert found == ["wikitext2", "wikitext103", "ptb", "c4", "pile"]
    assert corpus_of("synthetic") == "synthetic"


def test_files_go_to_the_output_folder(asked: Asked, tmp_path: Path) -> None:
    assert asked("--model", "bk").output_dir == Path("benchmark_results")
    assert asked("--model", "bk", "--output_dir", str(tmp_path)).output_dir == tmp_path


@pytest.mark.parametrize("what", ["parameters", "flops"])
@pytest.mark.long
def test_all_models_have_the_size_of_the_transformer(
    what: str, asked: Asked, small_mirror: Path
) -> None:
    words = ["--model", "all", "--d_model", "64", "--n_layers", "2", "--match", what]
    recipe = dataset_recipe(asked(*BASE, *words), "shakespeare")
    found = match_all(recipe)
    assert {name for name, one in found.items() if abs(one["deviation"]) <= 0.01} == set(found)
    assert recipe.compare is not None
    reference = found["transformer"]
    # the size is its own: nothing had to be solved
    assert reference["deviation"] == 0
    own = recipe.compare.architectures["transformer"].config
    assert reference["config"] == own


@pytest.mark.parametrize("width", [2, 16, 30, 48, 128, 250])
def test_every_even_width_makes_models_that_can_be_built(
    width: int, asked: Asked, small_mirror: Path
) -> None:
    words = ["--model", "all", "--d_model", str(width), "--match", "none"]
    found = match_all(dataset_recipe(asked(*BASE, *words), "shakespeare"))
    assert {one["config"]["hidden_size"] for one in found.values()} == {width}


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["--bits", "8"], ["--bits 8: quantised runs are not in this version", "--bits 16"]),
        (["--bits", "4"], ["--bits 4: quantised runs", "--bits 32 trains"]),
        (["--bits", "12"], ["`bits` = 12", "32, 16, 8 or 4"]),
        (["--downstream", "--multi_dataset"], ["leave `multi_dataset` out"]),
        (["--downstream", "--tasks", "glue", "glue"], ["`tasks` names a value twice: glue, glue"]),
        (["--downstream", "--downstream_lr", "0"], ["`downstream_lr` must be above 0"]),
        (["--tasks", "glue"], ["`tasks` goes with `downstream`"]),
        (["--downstream", "--tasks", "glu"], ["`tasks.0` = 'glu'", "'squad' or 'mmlu'"]),
        (["--datasets", "ptb"], ["`datasets` goes with `multi_dataset`"]),
        (["--multi_dataset", "--dataset", "ptb"], ["leave `dataset` out"]),
        (["--multi_dataset", "--datasets", "ptb", "ptb"], ["names a value twice: ptb"]),
        (
            ["--multi_dataset", "--datasets", "wikitext-2", "wikitext2"],
            ["names the corpus wikitext2 twice"],
        ),
        (
            ["--dataset", "wikitext-3"],
            ["unknown dataset 'wikitext-3'", "Did you mean 'wikitext-"],
        ),
        (["--dataset", "tinystories"], ["one without a validation split"]),
        (["--seed", "1", "--seeds", "2"], ["one of `seed` and `seeds`"]),
        (["--seeds", "2", "2"], ["`seeds` names a value twice: 2, 2"]),
        (["--lr", "0"], ["`lr` must be above 0"]),
        (["--seq_len", "1"], ["`seq_len` = '1'", "greater than 1"]),
        (["--d_model", "17"], ["`d_model` = '17'", "multiple of 2"]),
        (["--model", "gpt"], ["`model` = 'gpt'", "'mamba', 'bk'"]),
        (["--vocab_size", "30000"], ["--vocab_size"]),
    ],
    ids=_words,
)
def test_request_that_cannot_be_carried_out_is_refused(
    words: list[str],
    messages: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in words else ["--model", "bk"]
    assert main(["mamba-vs-bk", *model, *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for message in messages:
        assert message in captured.err
    assert "errors.pydantic.dev" not in captured.err
    # refused before anything was made
    assert not list(tmp_path.iterdir())


def test_more_steps_of_warm_up_than_steps_are_refused(asked: Asked, small_mirror: Path) -> None:
    request = asked(*BASE, "--num_steps", "5", "--warmup_steps", "6")
    check_request(request)
    with pytest.raises(ValueError, match="--warmup_steps 6 is more than the 5 steps"):
        dataset_recipe(request, "shakespeare")
