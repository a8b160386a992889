"""The command line: exit codes, one clear message on stderr, results on stdout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel_research import pipeline
from sentinel_research.cli import main
from sentinel_research.cli.lm_eval import keeps_prompts
from sentinel_research.errors import CheckFailedError
from tests.cli.conftest import refused
from tests.processes import Processes

ROOT = Path(__file__).parents[2]
# lm-eval's own tasks are read, which takes seconds in every process but a fork
in_processes = pytest.mark.xdist_group("processes")


def _refused_alone(processes: Processes, folder: Path, *words: str) -> str:
    """`refused`, of a command in a process of its own."""
    done = processes.run(["sentinel", *words], folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


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


def test_reader_that_has_seen_enough_ends_the_command_without_a_word() -> None:
    command = [sys.executable, "-m", "sentinel_research", "ls", "tasks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait() == 141


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'Did you mean "run"' in refused(capsys, "rnu", "demo")


def test_unknown_flag_isrefused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--dryrun" in refused(capsys, "run", "demo", "--dryrun")


def test_unknown_recipe_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'demo'" in refused(capsys, "run", "dmeo")


def test_unknown_recipe_key_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "demo", "--set", "prune.fraction=[0.5]")
    assert "unknown key `prune.fraction`" in error
    assert "Did you mean 'fractions'" in error


def test_unknown_scorer_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "demo", "--set", "prune.scorers=[magnitude_l3]")
    assert "unknown scorer 'magnitude_l3'" in error
    assert "Did you mean 'magnitude_l" in error


def test_unknown_recovery_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    train = "recover.train={corpus: synthetic, num_steps: 1}"
    error = refused(capsys, "run", "demo", "--set", train, "--set", "recover.methods={fulll: {}}")
    assert "unknown recovery 'fulll'" in error
    assert "Did you mean 'full'" in error


@pytest.mark.parametrize("words", [["run"], []], ids=["run", "without a subcommand"])
def test_lm_eval_without_tasks_isrefused(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    error = refused(capsys, "lm-eval", *words, "--model", "sentinel")
    assert "no task was given" in error
    assert "--tasks sentinel_wikitext2" in error


@pytest.mark.parametrize(
    "words", [["--cache_requests"], ["--cache_requests=true"], ["--cache_r", "refresh"]]
)
def test_kept_prompts_of_lm_eval_are_refused_with_the_reason(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    error = refused(capsys, "lm-eval", "run", "--tasks", "sentinel_synthetic", *words)
    assert "by the name of the task alone" in error
    assert "--use_cache PATH" in error


@pytest.mark.parametrize("words", [["--cache_requests", "delete"], ["--use_cache", "answers"]])
def test_kept_answers_and_the_deletion_of_prompts_go_to_lm_eval(words: list[str]) -> None:
    assert not keeps_prompts(["run", *words])


@in_processes
def test_lm_eval_without_a_model_isrefused(processes: Processes, tmp_path: Path) -> None:
    words = ["--model", "sentinel", "--tasks", "sentinel_synthetic"]
    error = _refused_alone(processes, tmp_path, "lm-eval", "run", *words)
    assert "error: --model sentinel needs to know which model" in error
    assert "--model_args pretrained=" in error


@in_processes
def test_unknown_task_names_the_nearest(
    processes: Processes, tmp_path: Path, recipe_file: Path
) -> None:
    words = ["run", str(recipe_file), "--set", "evaluate.tasks=[sentinel_synthetc]"]
    error = _refused_alone(processes, tmp_path, *words)
    assert "unknown task 'sentinel_synthetc'" in error
    assert "Did you mean 'sentinel_synthetic'" in error


def test_unknown_architecture_names_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["run", "demo", "--set", "model.architecture=gpt3", "--output", str(tmp_path)]
    assert "unknown architecture 'gpt3'" in refused(capsys, *words)


@pytest.mark.parametrize("device", ["tpu9", "cuda:99"])
def test_device_that_is_not_there_isrefused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, device: str
) -> None:
    words = ["run", "demo", "--set", f"model.device={device}", "--output", str(tmp_path)]
    assert device in refused(capsys, *words, "--quiet")


def test_unknown_model_is_said_to_be_neither_folder_nor_hub_id(
    capsys: pytest.CaptureFixture[str], recipe_file: Path, tmp_path: Path
) -> None:
    words = ["run", str(recipe_file), "--output", str(tmp_path / "out"), "--quiet"]
    assert "'nowhere/model' is neither" in refused(capsys, *words, code=1)


@pytest.mark.parametrize("fraction", ["-0.1", "1.5", "half"])
def test_fraction_outside_zero_to_one_isrefused(
    capsys: pytest.CaptureFixture[str], fraction: str
) -> None:
    error = refused(capsys, "run", "demo", "--set", f"prune.fractions=[{fraction}]")
    assert fraction in error


def test_scorer_that_reads_text_needs_calibration(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "demo", "--set", "prune.calibration=null")
    assert "the scorer 'entropy_low' reads calibration text" in error
    assert "--set prune.calibration.corpus=" in error


def test_output_folder_that_cannot_be_written_isrefused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    error = refused(capsys, "run", "demo", "--output", str(file / "below"), "--quiet")
    assert "cannot write to the output folder" in error
    assert "--output" in error


def test_ctrl_c_exits_130_and_says_how_to_resume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupt)
    assert "resumes" in refused(capsys, "run", str(recipe_file), "--quiet", code=130)


def test_failed_check_exits_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def leak(*args: object, **kwargs: object) -> None:
        raise CheckFailedError("check failed: it leaks")

    monkeypatch.setattr(pipeline, "run", leak)
    assert "it leaks" in refused(capsys, "run", str(recipe_file), "--quiet", code=1)


def test_defect_is_one_line_without_debug_and_a_traceback_with_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(pipeline, "run", broken)
    error = refused(capsys, "run", str(recipe_file), "--quiet", code=1)
    assert "ZeroDivisionError: oops" in error
    assert "--debug" in error
    with pytest.raises(ZeroDivisionError):
        main(["run", str(recipe_file), "--quiet", "--debug"])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "recipes",
            ["demo", "recovery-demo", "criteria-stories260k", "structured-unstructured"],
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


def test_ls_names_the_recoveries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "recoveries"]) == 0
    assert "every parameter that pruning left" in capsys.readouterr().out


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sentinel_research", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert done.stdout.strip() == "0.1.0"
