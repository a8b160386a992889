"""The test command runs every suite that there is."""

import configparser
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_WHOLE_FILE = re.compile(r"^pytestmark = .*xdist_group\(", re.MULTILINE)


def test_every_folder_of_tests_belongs_to_an_environment() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    words = parser["testenv"]["commands"].split()
    folders = {
        f"tests/{path.name}"
        for path in (ROOT / "tests").iterdir()
        if path.is_dir() and list(path.glob("test_*.py"))
    }
    assert len(folders) > 5
    assert folders <= set(words), f"in no environment: {sorted(folders - set(words))}"


def test_plain_run_leaves_out_what_takes_seconds_and_ci_runs_every_test() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    assert parser["tox"]["env_list"] == "lint, quick"
    commands = dict(
        line.split(": ", 1)
        for line in parser["testenv"]["commands"].splitlines()
        if line.startswith(("quick: ", "tests: "))
    )
    (usual,) = re.findall(r'"(not slow [^"]*)"', (ROOT / "pyproject.toml").read_text())
    assert commands == {
        "quick": f'{{[shared]pytest}} tests -m "not long and {usual}" {{posargs}}',
        "tests": "{[shared]pytest} tests {posargs}",
    }


def test_what_the_tests_of_a_file_share_is_made_by_one_worker() -> None:
    sharing = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r'^@pytest\.fixture\(scope="module"', path.read_text(), re.MULTILINE)
    ]
    assert len(sharing) > 5
    assert [path for path in sharing if not _WHOLE_FILE.search(path.read_text())] == []


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has all groups")
@pytest.mark.xdist_group("suites")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@suites")


def test_no_test_belongs_to_two_groups_of_which_xdist_makes_a_third() -> None:
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    grouped = {path: text for path, text in texts.items() if _WHOLE_FILE.search(text)}
    assert len(grouped) > 5
    assert [path for path, text in grouped.items() if text.count("xdist_group(") != 1] == []
