"""Every command has a page; what it says of flags is what the command line says of itself."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import COMMANDS, DOCS, halves, references

README = DOCS.parent / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
REFERENCES = references()
PAGES = sorted([*DOCS.rglob("*.md"), README])
# pages whose shell blocks are run by tests of their own
EXECUTED = [README, *(DOCS / f"{name}.md" for name in ("baselines", "compare", "ledger", "runs"))]
EXECUTED += [DOCS / "compare_agency.md"]


def _commands(page: Path, languages: tuple[str, ...] = ("", "bash")) -> Iterator[str]:
    """Every line of a page that calls `sentinel`, continued lines joined."""
    for language, code in BLOCK.findall(halves(page)[0]):
        if language in languages:
            for line in code.replace("\\\n", " ").splitlines():
                if line.startswith("sentinel "):
                    yield line


@pytest.mark.parametrize("command", REFERENCES)
def test_page_of_a_command_says_what_its_help_says(command: str) -> None:
    written, generated = halves(COMMANDS / f"{command}.md")
    assert written.startswith(f"# sentinel {command}\n")
    assert generated == REFERENCES[command], "python tests/docs/pages.py"


def test_every_page_is_of_a_command() -> None:
    assert {page.stem for page in COMMANDS.iterdir()} == set(REFERENCES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_is_understood_by_the_command_line(page: Path) -> None:
    from sentinel_research.cli.app import app

    for command in _commands(page):
        words = shlex.split(command)[1:]
        if words[0] != "lm-eval" and "..." not in words:
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_shell_examples_of_commands_are_run_elsewhere() -> None:
    run = {command for page in EXECUTED for command in _commands(page, ("bash",))}
    shown = {command for page in COMMANDS.iterdir() for command in _commands(page, ("bash",))}
    assert shown <= run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
