"""Copies of the package, in which something is changed and tests are run.

A new interpreter takes ten seconds to load the libraries. Here each run of pytest is a fork of a
process that has them, and only this project is loaded anew.
"""

import compileall
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
# as one of the suites' own modules, however this file was started
sys.path.insert(0, str(ROOT))

from tests.processes import Processes  # noqa: E402

PACKAGE = "sentinel_research"
_COPIED = (PACKAGE, "tests", "tasks", "docs", "regression_baselines", "pyproject.toml")
_COPIED += ("tox.ini", "README.md", "CHANGELOG.md")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[| |$)", re.MULTILINE)
_FAILURES = 1
_DAY = 86_400
_RUN = """
import os, signal, sys
# ends the process wherever it hangs, a loop sooner than one that waits for a busy machine
signal.alarm(int(sys.argv[1]))
signal.setitimer(signal.ITIMER_PROF, max(1, int(sys.argv[1]) / 5))
sys.dont_write_bytecode = True
sys.path.insert(0, os.getcwd())
import pytest
# libraries are loaded already, on purpose
quiet = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
sys.exit(pytest.main(["-W", quiet, *sys.argv[2:]]))
"""


class Outcome(NamedTuple):
    """What a run of tests came to."""

    failed: str
    """First test that failed, as pytest names it without parameters; `import` if the package does
    not even load, empty if nothing failed."""
    seconds: float
    """Wall time."""
    timed_out: bool
    """Whether it was stopped at its limit, or died."""


class Copy:
    """A copy of the package and its tests, with a process that runs tests there.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                # numba's machine code comes along: it is found by the time of its source
                ignored = shutil.ignore_patterns("*.pyc")
                shutil.copytree(source, folder / name, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy2(source, folder / name)
        # a source that changed is told by its content: two edits may fall into one second
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(folder / PACKAGE, quiet=2, invalidation_mode=mode)
        self._environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        # what the libraries load of this project on their own must be the copy's too
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(folder)
        try:
            self._processes = Processes()
        finally:
            del os.environ["PYTHONPATH"]
            if before is not None:
                os.environ["PYTHONPATH"] = before

    @contextmanager
    def changed(self, file: str, source: str) -> Iterator[None]:
        """Have another text in a file, given by its path inside the package, for a while."""
        path = self.folder / PACKAGE / file
        before, times = path.read_text(), path.stat()
        path.write_text(source)
        try:
            yield
        finally:
            path.write_text(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def test(self, *arguments: str, limit_seconds: float) -> Outcome:
        """Run tests until the first failure.

        Args:
            *arguments: Of pytest.
            limit_seconds: After which the run is stopped.

        Raises:
            RuntimeError: if pytest did not run the tests, with what it said.
        """
        start = time.perf_counter()
        done = self.run(["-x", "-q", *arguments], limit_seconds)
        seconds = time.perf_counter() - start
        found = _FAILED.search(done.stdout)
        if done.returncode == 0:
            return Outcome("", seconds, False)
        if done.returncode == _FAILURES and found:
            return Outcome(found.group(1), seconds, False)
        if done.returncode < 0:
            return Outcome("", seconds, True)
        if f"\n{PACKAGE}/" in done.stdout + done.stderr:
            return Outcome("import", seconds, False)
        raise RuntimeError(f"pytest did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def verdicts(
        self, mutants: Sequence[Mapping[str, Any]], tests: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Judge mutants in forks of one process that has collected the tests, see `mutants_plugin`.

        Args:
            mutants: Each with its name, its file inside the package, what the file holds then, and
                the tests to run.
            tests: Files of all these tests.

        Returns:
            Of each mutant, as soon as it is known, its name, the test that kills it (empty if none
            does, None if it needs a process of its own) and the seconds that it took.

        Raises:
            RuntimeError: if pytest did not run the tests, with what it said.
        """
        asked, found = (self.folder / name for name in ("mutants.json", "verdicts.jsonl"))
        asked.write_text(json.dumps(mutants))
        found.write_text("")
        files = ["--mutants", str(asked), "--verdicts", str(found)]
        arguments = ["-q", "-p", "tests.faults.mutants_plugin", *files, *tests]
        with ThreadPoolExecutor(1) as pool, found.open() as lines:
            running = pool.submit(self.run, arguments, _DAY)
            is_done = False
            while not is_done:
                is_done = bool(wait([running], timeout=1).done)
                yield from map(json.loads, lines)
            done = running.result()
        if done.returncode:
            raise RuntimeError(f"pytest did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def run(
        self, arguments: Sequence[str], limit_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run pytest; its exit code is negative if it was stopped."""
        words = ["python", "-c", _RUN, str(max(1, round(limit_seconds))), *arguments]
        return self._processes.run(words, self.folder, **self._environment)

    def close(self) -> None:
        """End the process."""
        self._processes.close()
