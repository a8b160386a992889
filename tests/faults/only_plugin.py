"""A plugin of pytest that runs the tests of a list, in its order, as far as there are any.

    python -m pytest -p tests.faults.only_plugin --only FILE TESTS

A mutant of a table by which tests are made takes some of them away. That alone is no failure: who
runs the tests does not count them.
"""

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the list is."""
    parser.addoption("--only", required=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out all others."""
    found = {item.nodeid: item for item in items}
    names = json.loads(Path(config.getoption("--only")).read_text())
    items[:] = [found[name] for name in names if name in found]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Nobody noticed a mutant that took all of them."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
