"""The test command runs every suite that there is."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]


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


def test_default_run_is_the_checks_of_the_code_and_every_test() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    assert parser["tox"]["env_list"] == "lint, tests"
    (command,) = (
        line.removeprefix("tests: ")
        for line in parser["testenv"]["commands"].splitlines()
        if line.startswith("tests: ")
    )
    assert command == "{[shared]pytest} tests {posargs}"
