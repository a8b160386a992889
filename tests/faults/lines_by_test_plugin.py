"""A plugin of pytest that notes which tests run which lines of the package, and for how long.

    python -m pytest -p tests.faults.lines_by_test_plugin --lines-to FILE TESTS

Lines that compiled code or other processes run are not seen.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

PACKAGE = Path(__file__).parents[2] / "sentinel_research"
_SECONDS: Counter[str] = Counter()
_COVERAGE = Coverage(data_file=None, source=[str(PACKAGE)], config_file=False)
_COVERAGE.start()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table goes."""
    parser.addoption("--lines-to", required=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """All that runs from here on is this test's, up to the next one."""
    _COVERAGE.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the seconds of a test."""
    _SECONDS[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table: by file and line the tests, and their seconds."""
    _COVERAGE.stop()
    data = _COVERAGE.get_data()
    lines = {
        str(Path(file).relative_to(PACKAGE)): {
            line: [test for test in tests if test]
            for line, tests in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    Path(session.config.getoption("--lines-to")).write_text(
        json.dumps({"lines": lines, "seconds": _SECONDS})
    )
