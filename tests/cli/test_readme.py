"""Every example of the README runs, in the order and the way a reader would type them."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import REHEARSAL, SMOKE
from tests.processes import Processes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(<!-- needs the mirror -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
INSTALL = "pip install -e . && "
DEMO = "sentinel run demo"
# every stage and cell of the demo, on less text; nightly it runs as it is typed
QUICK = "--set train.num_steps=10 --set evaluate.limit=4"

# one worker has the process that starts others
in_processes = pytest.mark.xdist_group("processes")


def _blocks(*, needs_mirror: bool) -> list[tuple[str, str]]:
    return [
        (language, code)
        for needs, language, code in BLOCK.findall(README)
        if bool(needs) == needs_mirror
    ]


def _commands(*, needs_mirror: bool) -> list[str]:
    """Each line of a shell block, and each Python block as a command of its own."""
    commands = []
    for language, code in _blocks(needs_mirror=needs_mirror):
        if language == "python":
            commands.append(shlex.join(["python", "-c", code]))
        else:
            commands += [
                line.removeprefix(INSTALL)
                for line in code.splitlines()
                # the explorer's page stays open: test_explore types its flags
                if not line.startswith(("pip install tox", "sentinel explore"))
            ]
    return commands


def _with_tasks(folder: Path) -> Path:
    for name in ("tasks", "regression_baselines"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def _type(commands: Sequence[str], folder: Path, **environment: str) -> None:
    """Run them in a shell, as a reader types them."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"


def _fork(commands: Sequence[str], folder: Path, processes: Processes) -> list[str]:
    """Run each in a process of its own, without the time that libraries take to load."""
    shown = []
    for command in commands:
        done = processes.run(shlex.split(command), folder)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
        shown.append(done.stdout)
    return shown


def test_readme_has_one_command_to_run_and_one_to_test() -> None:
    assert "```bash\npip install -e . && sentinel run demo\n```" in README
    command = "pip install tox && tox -e lint,tests"
    assert f"```bash\n{command}\n```" in README
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def _builds_on_another(command: str) -> bool:
    """Whether an example belongs to the chain that begins with `runs/quick`."""
    return "runs/quick" in command or "runs/half" in command


@in_processes
@pytest.mark.long
def test_examples_that_stand_alone_run(tmp_path: Path, processes: Processes) -> None:
    commands = [one for one in _commands(needs_mirror=False) if not _builds_on_another(one)]
    assert DEMO in commands
    # the benchmarks' examples are run and looked at by tests of their own
    commands.remove(shlex.join(SMOKE))
    commands.remove(shlex.join(REHEARSAL))
    quick = [f"{one} {QUICK}" if one == DEMO else one for one in commands]
    _fork(quick, _with_tasks(tmp_path), processes)


@in_processes
@pytest.mark.long
def test_examples_run_and_the_two_ways_to_prune_print_the_same_numbers(
    tmp_path: Path, processes: Processes
) -> None:
    commands = [one for one in _commands(needs_mirror=False) if _builds_on_another(one)]
    shown = _fork(commands, _with_tasks(tmp_path), processes)
    tables = [
        sorted(set(re.findall(r"\|(\w+_perplexity|bits_per_byte)\s*\|.*?\|\s*([\d.]+)\|±", text)))
        for command, text in zip(commands, shown, strict=True)
        if command.startswith("lm_eval ")
    ]
    ours, stock = tables
    # stock lm-eval reports no tokens
    assert stock
    assert [row for row in ours if row[0] != "token_perplexity"] == stock
    assert (tmp_path / "runs" / "half" / "model.safetensors").is_file()


def test_command_is_on_the_path_once_it_is_installed(tmp_path: Path) -> None:
    (command,) = (one for one in _commands(needs_mirror=False) if one == "sentinel ls recipes")
    _type([command], tmp_path)


# a minute and a half of training, and six seconds for each interpreter that starts
@pytest.mark.slow
def test_examples_run_as_they_are_typed(tmp_path: Path) -> None:
    _type(_commands(needs_mirror=False), _with_tasks(tmp_path))


@pytest.mark.slow
def test_examples_on_real_text_run(tmp_path: Path, mirror: Path, real_models: Path) -> None:
    _type(
        _commands(needs_mirror=True),
        _with_tasks(tmp_path),
        SENTINEL_DATA=str(mirror),
        SENTINEL_MODELS=str(real_models),
    )
