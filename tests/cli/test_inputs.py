"""Models, data and evaluations that cannot be used are refused before anything is computed."""

from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord
from tests.cli.conftest import RECIPE, refused


def test_mirror_without_the_dataset_names_both_places(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SENTINEL_DATA", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    recipe = tmp_path / "ptb.yaml"
    recipe.write_text(
        RECIPE.replace("nowhere/model", str(tmp_path / "model")).replace(
            "sentinel_synthetic", "sentinel_ptb"
        )
    )
    words = ["run", str(recipe), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 1
    failed = RunRecord.read(tmp_path / "out").cell("dense")
    assert failed.error is not None
    assert str(tmp_path / "mirror") in failed.error
    assert "the hub (offline" in failed.error
    assert "hf download --repo-type dataset ptb-text-only/ptb_text_only" in failed.error
    assert "failed" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("evaluate.max_length=4000", "max_length = 4000 is longer than the model's context of 64"),
        ("evaluate.prefix_token_id=100000", "is not in the model's vocabulary"),
        ("evaluate.num_fewshot=3", "'sentinel_synthetic' scores whole texts, without examples"),
        (
            "evaluate.generation={corpus: synthetic, prompt_tokens: 60}",
            "prompts of 61 tokens, one of them begins the text, and `max_new_tokens` = 64 are more",
        ),
        (
            "evaluate.generation={corpus: synthetic, temperature: 0, num_samples: 2}",
            "`num_samples` = 2 with `temperature` = 0",
        ),
        ("evaluate.generation={corpus: shakespear}", "unknown corpus 'shakespear'"),
    ],
)
def test_evaluation_that_model_or_task_cannot_serve_is_refused_before_it_begins(
    capsys: pytest.CaptureFixture[str],
    recipe_file: Path,
    tmp_path: Path,
    change: str,
    message: str,
    flags: list[str],
) -> None:
    folder = save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    words = ["run", str(recipe_file), "--set", f"model.pretrained={folder}", "--set", change]
    words += ["--output", str(tmp_path / "out"), "--quiet", *flags]
    assert main(words) == 2
    assert message in capsys.readouterr().err
    if (tmp_path / "out").exists():
        assert RunRecord.read(tmp_path / "out").cell("dense").evaluation is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("evaluate.max_length=4000", "max_length = 4000"),
        ("evaluate.num_fewshot=1", "num_fewshot"),
        ("evaluate.generation={corpus: nowhere}", "unknown corpus 'nowhere'"),
    ],
)
def test_evaluation_that_a_model_to_be_trained_cannot_serve_is_refused_before_training(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: str,
    message: str,
) -> None:
    def trained(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("sentinel_research.training.train", trained)
    words = ["run", "demo", "--set", change, "--output", str(tmp_path), "--quiet"]
    assert message in refused(capsys, *words)


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("by_name", [False, True], ids=["path", "name"])
def test_revision_of_a_folder_isrefused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recipe_file: Path,
    tmp_path: Path,
    by_name: bool,
    flags: list[str],
) -> None:
    folder = save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "kept")
    monkeypatch.setenv("SENTINEL_MODELS", str(tmp_path))
    model = f"model={{pretrained: {'kept' if by_name else folder}, revision: abc}}"
    words = ["run", str(recipe_file), "--set", model, "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*words, *flags]) == 2
    assert "revision 'abc' was asked for of" in capsys.readouterr().err


def test_revision_of_a_model_to_be_trained_isrefused(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "demo", "--set", "model.revision=abc")
    assert "`revision` belongs to `pretrained`" in error


def test_truncated_weights_are_refused_with_their_sizes(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, tmp_path: Path
) -> None:
    folder = save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    words = ["run", str(recipe_file), "--set", f"model.pretrained={folder}", "--quiet"]
    error = refused(capsys, *words, "--output", str(tmp_path / "out"), code=1)
    assert "model.safetensors" in error
    assert str(weights.stat().st_size) in error.replace(",", "")


def test_mirror_folder_that_does_not_exist_isrefused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SENTINEL_DATA", raising=False)
    error = refused(capsys, "run", "demo", "--set", f"data={tmp_path / 'nowhere'}", "--quiet")
    assert "nowhere" in error
