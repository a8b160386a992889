"""The test command runs every suite that there is."""

import configparser
import re
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


def test_what_the_tests_of_a_file_share_is_made_by_one_worker() -> None:
    sharing = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r'^@pytest\.fixture\(scope="module"', path.read_text(), re.MULTILINE)
    ]
    assert len(sharing) > 5
    spread = [
        path
        for path in sharing
        if "\npytestmark = pytest.mark.xdist_group(" not in path.read_text()
    ]
    assert spread == []


def test_no_test_belongs_to_two_groups_of_which_xdist_makes_a_third() -> None:
    whole_file = "\npytestmark = pytest.mark.xdist_group("
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    grouped = {path: text for path, text in texts.items() if whole_file in text}
    assert len(grouped) > 5
    assert [path for path, text in grouped.items() if text.count("xdist_group(") != 1] == []
