"""The command line: exit codes, one clear message on stderr, results on stdout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel_research import pipeline
from sentinel_research.cli import main
from sentinel_research.errors import CheckFailedError
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord

ROOT = Path(__file__).parents[2]
RECIPE = """
name: mine
description: a recipe
model: {pretrained: nowhere/model}
evaluate: {tasks: [sentinel_synthetic]}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


def _refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_help_names_every_command_and_loads_neither_torch_nor_lm_eval() -> None:
    code = """
import sys
from sentinel_research.cli import main
main(["--help"])
heavy = {"torch", "transformers", "datasets", "lm_eval", "matplotlib", "scipy"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    for command in ("run", "ls", "report", "lm-eval"):
        assert any(f" {command} " in line for line in text)


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'Did you mean "run"' in _refused(capsys, "rnu", "demo")


def test_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--dryrun" in _refused(capsys, "run", "demo", "--dryrun")


def test_unknown_recipe_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'demo'" in _refused(capsys, "run", "dmeo")


def test_unknown_recipe_key_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    error = _refused(capsys, "run", "demo", "--set", "prune.fraction=[0.5]")
    assert "unknown key `prune.fraction`" in error
    assert "Did you mean 'fractions'" in error


def test_unknown_scorer_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    error = _refused(capsys, "run", "demo", "--set", "prune.scorers=[magnitude_l3]")
    assert "unknown scorer 'magnitude_l3'" in error
    assert "Did you mean 'magnitude_l" in error


def test_unknown_recovery_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    error = _refused(capsys, "run", "demo", "--set", "recover.recipe=lora")
    assert "unknown recovery 'lora'" in error
    assert "No recovery is installed yet" in error


@pytest.mark.parametrize("words", [["run"], []], ids=["run", "without a subcommand"])
def test_lm_eval_without_tasks_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    error = _refused(capsys, "lm-eval", *words, "--model", "sentinel")
    assert "no task was given" in error
    assert "--tasks sentinel_wikitext2" in error


def test_lm_eval_without_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "sentinel", "--tasks", "sentinel_synthetic"]
    error = _refused(capsys, "lm-eval", "run", *words)
    assert "error: --model sentinel needs to know which model" in error
    assert "--model_args pretrained=" in error


def test_unknown_task_names_the_nearest(
    capsys: pytest.CaptureFixture[str], recipe_file: Path
) -> None:
    error = _refused(capsys, "run", str(recipe_file), "--set", "evaluate.tasks=[sentinel_synthetc]")
    assert "unknown task 'sentinel_synthetc'" in error
    assert "Did you mean 'sentinel_synthetic'" in error


def test_unknown_architecture_names_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["run", "demo", "--set", "model.architecture=gpt3", "--output", str(tmp_path)]
    assert "unknown architecture 'gpt3'" in _refused(capsys, *words)


@pytest.mark.parametrize("device", ["tpu9", "cuda:99"])
def test_device_that_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, device: str
) -> None:
    words = ["run", "demo", "--set", f"model.device={device}", "--output", str(tmp_path)]
    assert device in _refused(capsys, *words, "--quiet")


def test_unknown_model_is_said_to_be_neither_folder_nor_hub_id(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, tmp_path: Path
) -> None:
    words = ["run", str(recipe_file), "--output", str(tmp_path / "out"), "--quiet"]
    assert "'nowhere/model' is neither" in _refused(capsys, *words, code=1)


@pytest.mark.parametrize("fraction", ["-0.1", "1.5", "half"])
def test_fraction_outside_zero_to_one_is_refused(
    capsys: pytest.CaptureFixture[str], fraction: str
) -> None:
    error = _refused(capsys, "run", "demo", "--set", f"prune.fractions=[{fraction}]")
    assert fraction in error


def test_scorer_that_reads_text_needs_calibration(capsys: pytest.CaptureFixture[str]) -> None:
    error = _refused(capsys, "run", "demo", "--set", "prune.calibration=null")
    assert "the scorer 'entropy_low' reads calibration text" in error
    assert "--set prune.calibration.corpus=" in error


def test_output_folder_that_cannot_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    error = _refused(capsys, "run", "demo", "--output", str(file / "below"), "--quiet")
    assert "cannot write to the output folder" in error
    assert "--output" in error


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
    [("evaluate.max_length=4000", "max_length = 4000"), ("evaluate.num_fewshot=1", "num_fewshot")],
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
    assert message in _refused(capsys, *words)


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("by_name", [False, True], ids=["path", "name"])
def test_revision_of_a_folder_is_refused(
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


def test_revision_of_a_model_to_be_trained_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    error = _refused(capsys, "run", "demo", "--set", "model.revision=abc")
    assert "`revision` belongs to `pretrained`" in error


def test_truncated_weights_are_refused_with_their_sizes(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, tmp_path: Path
) -> None:
    folder = save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    words = ["run", str(recipe_file), "--set", f"model.pretrained={folder}", "--quiet"]
    error = _refused(capsys, *words, "--output", str(tmp_path / "out"), code=1)
    assert "model.safetensors" in error
    assert str(weights.stat().st_size) in error.replace(",", "")


def test_mirror_folder_that_does_not_exist_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SENTINEL_DATA", raising=False)
    error = _refused(capsys, "run", "demo", "--set", f"data={tmp_path / 'nowhere'}", "--quiet")
    assert "nowhere" in error


def test_ctrl_c_exits_130_and_says_how_to_resume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupt)
    assert "resumes" in _refused(capsys, "run", str(recipe_file), "--quiet", code=130)


def test_failed_check_exits_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def leak(*args: object, **kwargs: object) -> None:
        raise CheckFailedError("check failed: it leaks")

    monkeypatch.setattr(pipeline, "run", leak)
    assert "it leaks" in _refused(capsys, "run", str(recipe_file), "--quiet", code=1)


def test_defect_is_one_line_without_debug_and_a_traceback_with_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(pipeline, "run", broken)
    error = _refused(capsys, "run", str(recipe_file), "--quiet", code=1)
    assert "ZeroDivisionError: oops" in error
    assert "--debug" in error
    with pytest.raises(ZeroDivisionError):
        main(["run", str(recipe_file), "--quiet", "--debug"])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "recipes",
            ["demo", "criteria-stories260k", "shakespeare-heads", "structured-unstructured"],
        ),
        (
            "scorers",
            [
                "entropy_low",
                "flap",
                "leave_one_out",
                "magnitude_l2",
                "random",
                "sparsegpt",
                "taylor",
            ],
        ),
        ("tasks", ["sentinel_gutenberg", "sentinel_ptb", "sentinel_shakespeare"]),
        ("corpora", ["gutenberg", "ptb", "synthetic", "tinystories", "wikitext2"]),
        ("architectures", ["bloom", "gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2"]),
    ],
)
def test_ls_prints_one_described_line_per_name(
    capsys: pytest.CaptureFixture[str], kind: str, names: list[str]
) -> None:
    assert main(["ls", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert set(names) <= set(listed)
    assert all(listed.values())


def test_ls_says_when_nothing_is_registered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "recoveries"]) == 0
    assert capsys.readouterr().out == "no recoveries are registered\n"


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sentinel_research", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert done.stdout.strip() == "0.1.0"
