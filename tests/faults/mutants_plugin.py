"""A plugin of pytest that judges mutants in forks of this process, which has collected the tests.

    python -m pytest -p tests.faults.mutants_plugin --mutants FILE --verdicts FILE TESTS

To load the package and collect its tests takes seconds, which most mutants do not live. Here both
are done once: a fork gives the functions that a mutant changes their new code, in place, so that
whoever imported them has it too. What changes when a file is loaded cannot be put in place: such
mutants get no verdict here.
"""

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NoReturn

import pytest

PACKAGE = Path(__file__).parents[2] / "sentinel_research"
PROCESSOR_SECONDS = 120
"""After which a mutant has hung; twice what its tests may take."""
WALL_SECONDS = 900
"""For one that waits; a busy machine is given time."""
NEEDS_A_FRESH_PROCESS = 97
_FAILED = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the mutants are, and where their verdicts go."""
    parser.addoption("--mutants", required=True)
    parser.addoption("--verdicts", required=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """In place of all tests, run those of every mutant."""
    if session.testsfailed:
        raise session.Interrupted("tests cannot be collected")
    # the tests' own setup took them out of sight
    gc.unfreeze()
    functions = [one for one in gc.get_objects() if type(one) is FunctionType]
    gc.freeze()
    items = {item.nodeid: item for item in session.items}
    with Path(session.config.getoption("--verdicts")).open("w") as verdicts:
        for mutant in json.loads(Path(session.config.getoption("--mutants")).read_text()):
            start = time.perf_counter()
            killed_by = _verdict(
                session, [items[name] for name in mutant["tests"]], mutant, functions
            )
            seconds = time.perf_counter() - start
            found = {"name": mutant["name"], "killed_by": killed_by, "seconds": seconds}
            print(json.dumps(found), file=verdicts, flush=True)
    return True


def _verdict(
    session: pytest.Session,
    items: Sequence[pytest.Item],
    mutant: dict[str, Any],
    functions: Sequence[FunctionType],
) -> str | None:
    """The test that kills a mutant; empty if none does, None if it needs a fresh process."""
    path = PACKAGE / mutant["file"]
    before, times = path.read_text(), path.stat()
    said = Path(f"{session.config.getoption('--verdicts')}.failed")
    said.write_text("")
    # for what is loaded later, and for processes that a test starts
    path.write_text(mutant["source"])
    try:
        child = os.fork()
        if child == 0:
            _be(mutant["source"], before, path, items, functions, said)
        _, status = os.waitpid(child, 0)
    finally:
        path.write_text(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    code = os.waitstatus_to_exitcode(status)
    if code == NEEDS_A_FRESH_PROCESS:
        return None
    if code < 0:
        return "time" if -code in (signal.SIGALRM, signal.SIGPROF) else f"signal {-code}"
    if code not in (0, _FAILED):
        raise RuntimeError(f"{mutant['name']}: the fork ended with {code}")
    return said.read_text()


def _be(
    source: str,
    before: str,
    path: Path,
    items: Sequence[pytest.Item],
    functions: Sequence[FunctionType],
    said: Path,
) -> NoReturn:
    """Be the mutant from here to its end."""
    code = NEEDS_A_FRESH_PROCESS
    try:
        if put_in_place(before, source, str(path), functions):
            signal.alarm(WALL_SECONDS)
            signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
            failed = _first_failure(items)
            said.write_text(failed)
            code = _FAILED if failed else 0
    finally:
        os._exit(code)


def _first_failure(items: Sequence[pytest.Item]) -> str:
    """The test that fails first; empty if none does."""
    failed: list[str] = []

    class Watcher:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    config = items[0].config
    config.pluginmanager.register(Watcher())
    for item, following in zip(items, [*items[1:], None], strict=True):
        config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failed:
            return failed[0].partition("[")[0]
    return ""


def put_in_place(before: str, after: str, path: str, functions: Sequence[FunctionType]) -> bool:
    """Give functions of a file the code that they have after a change of it.

    Args:
        before: The file.
        after: The same, changed.
        path: Its name.
        functions: All that there are.

    Returns:
        False, with nothing done, if the change is not inside functions that are there.
    """
    if not any(getattr(one, "__file__", None) == path for one in [*sys.modules.values()]):
        # it will be loaded from the file
        return True
    modules = (compile(text, path, "exec", dont_inherit=True) for text in (before, after))
    outermost: list[tuple[CodeType, CodeType]] = []
    if not _is_alike(*modules, outermost):
        return False
    every = [pair for one in outermost for pair in _inner(*one)]
    own = [one for one in functions if one.__code__.co_filename == path]
    found = [(one, new) for old, new in every for one in _with_code(old, own)]
    if any(not _with_code(old, own) for old, _ in outermost):
        return False
    if any(one.__code__.co_freevars != new.co_freevars for one, new in found):
        return False
    for one, new in found:
        one.__code__ = new
    return True


def _is_alike(old: CodeType, new: CodeType, outermost: list[tuple[CodeType, CodeType]]) -> bool:
    """Whether code of a file or a class differs in functions only, which are noted."""
    if old.co_code != new.co_code or len(old.co_consts) != len(new.co_consts):
        return False
    if (old.co_names, old.co_varnames) != (new.co_names, new.co_varnames):
        return False
    for one, other in zip(old.co_consts, new.co_consts, strict=True):
        if isinstance(one, CodeType) and isinstance(other, CodeType):
            if one == other:
                continue
            if _is_class(one):
                if not _is_alike(one, other, outermost):
                    return False
            else:
                outermost.append((one, other))
        elif (type(one), one) != (type(other), other):
            return False
    return True


def _with_code(code: CodeType, functions: Sequence[FunctionType]) -> list[FunctionType]:
    """Those of a file's functions that have some code, or a name's only one at its place.

    Pytest rewrites asserts, so that a function with some has code of its own.
    """
    place = code.co_name, code.co_firstlineno
    there = [
        one for one in functions if (one.__code__.co_name, one.__code__.co_firstlineno) == place
    ]
    # several lambdas may be in one line
    if not code.co_name.startswith("<") and len({_mark(one.__code__) for one in there}) == 1:
        return there
    return [one for one in there if _mark(one.__code__) == _mark(code)]


def _mark(code: CodeType) -> Any:
    """What tells a function's code: not `==`, which sees what the interpreter made of it."""
    told = (code.co_name, code.co_firstlineno, code.co_linetable, code.co_code, code.co_names)
    values = [(type(one), one) for one in code.co_consts if not isinstance(one, CodeType)]
    return (*told, code.co_varnames, repr(values))


def _is_class(code: CodeType) -> bool:
    # functions that are called have fast locals; the bodies of classes have names
    return not code.co_flags & 0x2


def _inner(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]]:
    """A function's code before and after, and of all functions inside it that correspond."""
    parts = [[one for one in code.co_consts if isinstance(one, CodeType)] for code in (old, new)]
    if [one.co_name for one in parts[0]] != [one.co_name for one in parts[1]]:
        return [(old, new)]
    deeper = [pair for both in zip(*parts, strict=True) for pair in _inner(*both)]
    return [(old, new), *(pair for pair in deeper if pair[0] != pair[1])]
