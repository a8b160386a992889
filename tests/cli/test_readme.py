"""Every example of the README runs, in the order and the way a reader would type them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(<!-- needs the mirror -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
INSTALL = "pip install -e . && "


def _blocks(*, needs_mirror: bool) -> list[tuple[str, str]]:
    return [
        (language, code)
        for needs, language, code in BLOCK.findall(README)
        if bool(needs) == needs_mirror
    ]


def _commands(*, needs_mirror: bool) -> list[list[str]]:
    """Each line of a shell block and each Python block, as the words of a process."""
    commands = []
    for language, code in _blocks(needs_mirror=needs_mirror):
        if language == "python":
            commands.append([sys.executable, "-c", code])
        else:
            commands += [
                ["bash", "-c", line.removeprefix(INSTALL)]
                for line in code.splitlines()
                if not line.startswith("pip install tox")
            ]
    return commands


def _run(commands: list[list[str]], folder: Path, **environment: str) -> list[str]:
    (folder / "tasks").symlink_to(ROOT / "tasks")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shown = []
    for words in commands:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{words[-1]}\n{done.stderr[-3000:]}"
        shown.append(done.stdout)
    return shown


def test_readme_has_one_command_to_run_and_one_to_test() -> None:
    assert "```bash\npip install -e . && sentinel run demo\n```" in README
    assert "```bash\npip install tox && tox\n```" in README
    assert "pip install tox && tox" in (ROOT / ".ci" / "run").read_text().splitlines()


def _builds_on_another(words: list[str]) -> bool:
    """Whether an example belongs to the chain that begins with `runs/quick`."""
    return "runs/quick" in words[-1] or "runs/half" in words[-1]


# the longest of the suite, so that it runs beside the chain
@pytest.mark.xdist_group("readme-others")
def test_examples_that_stand_alone_run(tmp_path: Path) -> None:
    commands = [words for words in _commands(needs_mirror=False) if not _builds_on_another(words)]
    assert any(words[-1] == "sentinel run demo" for words in commands)
    _run(commands, tmp_path)


@pytest.mark.xdist_group("readme")
def test_examples_run_and_the_two_ways_to_prune_print_the_same_numbers(tmp_path: Path) -> None:
    commands = [words for words in _commands(needs_mirror=False) if _builds_on_another(words)]
    shown = _run(commands, tmp_path)
    tables = [
        sorted(set(re.findall(r"\|(\w+_perplexity|bits_per_byte)\s*\|.*?\|\s*([\d.]+)\|±", text)))
        for words, text in zip(commands, shown, strict=True)
        if words[-1].startswith("lm_eval ")
    ]
    ours, stock = tables
    # stock lm-eval reports no tokens
    assert stock
    assert [row for row in ours if row[0] != "token_perplexity"] == stock
    assert (tmp_path / "runs" / "half" / "model.safetensors").is_file()


@pytest.mark.slow
def test_examples_on_real_text_run(tmp_path: Path, mirror: Path, real_models: Path) -> None:
    _run(
        _commands(needs_mirror=True),
        tmp_path,
        SENTINEL_DATA=str(mirror),
        SENTINEL_MODELS=str(real_models),
    )
