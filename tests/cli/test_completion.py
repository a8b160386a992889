"""Completion by the tab key, as a shell asks for it."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sentinel_research.cli import main

ROOT = Path(__file__).parents[2]
# the script is made once
pytestmark = pytest.mark.xdist_group("completion")

ASK = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_sentinel
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `--install-completion` writes for bash."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        assert main(["--install-completion", "--shell", "bash"]) == 0
    path = home / ".local" / "share" / "bash-completion" / "completions" / "sentinel"
    assert str(path) in (home / ".bashrc").read_text()
    return path


def _completed(script: Path, words: str) -> set[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(script=script, words=words)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sentinel compare", {"compare", "compare-agency"}),
        ("sentinel run demo --verb", {"--verbose"}),
        ("sentinel benchmark --pruning_s", {"--pruning_strategies"}),
        ("sentinel run demo --executor r", {"ray"}),
        ("sentinel baseline ''", {"accept", "check", "measure"}),
    ],
    ids=["command", "flag", "published flag", "choice", "subcommand"],
)
def test_bash_completes_commands_flags_and_choices(
    script: Path, words: str, expected: set[str]
) -> None:
    found = _completed(script, words)
    assert expected <= found
    assert all(word.startswith(words.split()[-1].strip("'")) for word in found)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the other two shells have their scripts."""
    home = tmp_path_factory.mktemp("shells")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for shell in ("zsh", "fish"):
            assert main(["--install-completion", "--shell", shell]) == 0
    # most people have it there, and the installer says that it has to be
    with (home / ".zshrc").open("a") as file:
        file.write("autoload -Uz compinit\ncompinit -u\n")
    # fish completes what it finds alone
    program = home / "bin" / "sentinel"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return home


def _at(home: Path) -> dict[str, str]:
    """The environment of somebody whose home this is."""
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "TERM": "dumb"}
    return {**os.environ, **own, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def _needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def _typed_in_zsh(home: Path, words: str, expected: str) -> str:
    """What a terminal shows after words and a tab, as soon as it shows what is expected."""
    terminal, shell_side = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-i"],
        env=_at(home),
        stdin=shell_side,
        stdout=shell_side,
        stderr=shell_side,
        start_new_session=True,
    )
    seen, end = "", time.monotonic() + 20
    os.write(terminal, words.encode() + b"\t\t")
    try:
        while expected not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 1 << 16).decode(errors="replace")
    finally:
        shell.kill()
        shell.wait()
        os.close(shell_side)
        os.close(terminal)
    return seen


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sentinel comp", "compare-agency"),
        ("sentinel run demo --verb", "--verbose"),
        ("sentinel run demo --executor r", "ray"),
        ("sentinel baseline ", "measure"),
    ],
    ids=["command", "flag", "choice", "subcommand"],
)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_complete_commands_flags_and_choices(
    shell: str, words: str, expected: str, home: Path
) -> None:
    _needs(shell)
    if shell == "zsh":
        assert expected in _typed_in_zsh(home, words, expected)
        return
    done = subprocess.run(
        ["fish", "-c", f"complete -C {shlex.quote(words)}"],
        env=_at(home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected in {line.split("\t")[0] for line in done.stdout.splitlines()}


def test_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--install-completion", "--shell", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err


def test_completion_of_the_page_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    page = (ROOT / "docs" / "progress.md").read_text()
    (command,) = re.findall(r"```bash\n(.*)\n```", page)
    assert main(shlex.split(command)[1:]) == 0
    assert "sentinel" in (tmp_path / ".bashrc").read_text()
