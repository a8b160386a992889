"""Plant faults in the surgery one at a time, and print which law catches each.

    python tests/faults/run.py            all faults
    python tests/faults/run.py -k gate    those whose name contains "gate"

Every fault is a small edit of a copy of the package, of the kind that is legal in shape and silent:
a wrong layout, a stale attribute, a missing sign. In the copy the self-check of the surgery
(`check_agreement`) is off, so that the laws have to notice. A fault that survives, or that can no
longer be planted because the code moved on, fails the command (exit code 1).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from catalogue import FAULTS, SELF_CHECK
from fault import Fault

ROOT = Path(__file__).parents[2]
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[| |$)", re.MULTILINE)
_COPIED = ("sentinel_research", "tests", "tasks", "pyproject.toml", "README.md")
_TIME_LIMIT_SECONDS = 900


class Outcome(NamedTuple):
    """What became of one fault."""

    caught_by: str
    """First test that failed; empty if none did."""
    seconds: float
    """Time until then."""


def plant(folder: Path, fault: Fault) -> None:
    """Make the edit in the copy.

    Raises:
        SystemExit: if the text to replace is not there exactly once.
    """
    path = folder / "sentinel_research" / fault.file
    source = path.read_text()
    if source.count(fault.old) != 1:
        raise SystemExit(
            f"{fault.name}: {source.count(fault.old)} places to plant it in {fault.file}"
        )
    path.write_text(source.replace(fault.old, fault.new))


def copy_package(folder: Path) -> None:
    """Copy package and tests, with the surgery's self-check off."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    plant(folder, SELF_CHECK)


def run_tests(folder: Path, tests: tuple[str, ...]) -> Outcome:
    """Run tests of the copy until the first failure."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    # the self-check is off, and so is what tests it
    command += ["-k", "not self_check", *tests]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_SECONDS,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode == 0:
        return Outcome("", seconds)
    found = _FAILED.search(done.stdout)
    if found is None:
        raise SystemExit(f"pytest did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Outcome(found.group(1).rpartition("::")[2], seconds)


def main() -> int:
    """Plant every fault and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only faults whose name contains this")
    chosen = [fault for fault in FAULTS if parser.parse_args().k in fault.name]
    with tempfile.TemporaryDirectory() as temporary:
        clean = Path(temporary) / "clean"
        clean.mkdir()
        copy_package(clean)
        tests = tuple(sorted({test for fault in chosen for test in fault.tests}))
        outcome = run_tests(clean, tests)
        if outcome.caught_by:
            raise SystemExit(f"{outcome.caught_by} fails without any fault")
        print(f"| fault ({len(chosen)}) | law | caught by | seconds |\n|---|---|---|---|")
        survivors = 0
        for number, fault in enumerate(chosen):
            folder = Path(temporary) / str(number)
            shutil.copytree(clean, folder)
            plant(folder, fault)
            outcome = run_tests(folder, fault.tests)
            shutil.rmtree(folder)
            survivors += not outcome.caught_by
            caught = f"`{outcome.caught_by}`" if outcome.caught_by else "**nothing**"
            row = f"| {fault.name} | {fault.law} | {caught} | {outcome.seconds:.0f} |"
            print(row, flush=True)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} faults caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
