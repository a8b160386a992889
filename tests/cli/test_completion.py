"""Completion by the tab key, as a shell asks for it."""

import re
import shlex
import subprocess
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


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_of_their_own(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "script"
    assert main(["--install-completion", "--shell", shell, "--output", str(path)]) == 0
    assert "compare-agency" in path.read_text()


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
