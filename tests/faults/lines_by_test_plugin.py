"""A plugin of pytest that notes which tests run which lines of the package, and for how long.

    python -m pytest -p tests.faults.lines_by_test_plugin --lines-to FILE TESTS

Lines that compiled code or other processes run are not seen. Seconds are of processors, these
processes' too, so that a busy machine gives the order of an idle one.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from coverage import Coverage

PACKAGE = Path(__file__).parents[2] / "sentinel_research"
_SECONDS: dict[str, float] = {}
_COVERAGE = Coverage(data_file=None, source=[str(PACKAGE)], config_file=False)
_COVERAGE.start()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table goes."""
    parser.addoption("--lines-to", required=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """All that runs from here on is this test's, up to the next one."""
    _COVERAGE.switch_context(item.nodeid)
    start = _processor_seconds()
    result = yield
    _SECONDS[item.nodeid] = _processor_seconds() - start
    return result


def _processor_seconds() -> float:
    """Of this process and of those that it started, and they in turn, so far."""
    own = psutil.Process()
    times = [one.cpu_times() for one in (own, *own.children())]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table: by file and line the tests, and their seconds."""
    _COVERAGE.stop()
    data = _COVERAGE.get_data()
    lines = {
        str(Path(file).relative_to(PACKAGE)): data.contexts_by_lineno(file)
        for file in data.measured_files()
    }
    Path(session.config.getoption("--lines-to")).write_text(
        json.dumps({"lines": lines, "seconds": _SECONDS})
    )
