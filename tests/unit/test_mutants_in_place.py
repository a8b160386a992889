"""A mutant's code reaches all who hold a function, or the mutant is left to a fresh process."""

import ast
import gc
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace

import pytest
from _pytest.assertion.rewrite import rewrite_asserts

from tests.faults import only_plugin
from tests.faults.mutants_plugin import put_in_place

SOURCE = """
LIMIT = 3
TABLE = {"twice": lambda x: 2 * x, "thrice": lambda x: 3 * x}


def plus(x, step=1):
    return [one + step for one in (x, x)]


def adder(by):
    def add(x):
        return x + by

    return add


ADD = adder(LIMIT)


class Box:
    SIZE = 4

    @property
    def half(self):
        return self.SIZE / 2
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "subject_of_mutants.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("subject_of_mutants", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def put(module: ModuleType, old: str, new: str) -> bool:
    assert SOURCE.count(old) == 1
    functions = [one for one in gc.get_objects() if type(one) is FunctionType]
    return put_in_place(SOURCE, SOURCE.replace(old, new), str(module.__file__), functions)


def test_whoever_imported_a_function_has_its_change(loaded: ModuleType) -> None:
    plus = loaded.plus
    # often run code is not what it was, to the interpreter
    assert [plus(2) for _ in range(100)][-1] == [3, 3]
    assert put(loaded, "one + step", "one - step")
    assert plus(2) == [1, 1]


def test_lambda_is_told_from_another_of_its_line(loaded: ModuleType) -> None:
    assert put(loaded, "3 * x", "5 * x")
    assert (loaded.TABLE["twice"](1), loaded.TABLE["thrice"](1)) == (2, 5)


def test_method_behind_a_decorator_is_changed(loaded: ModuleType) -> None:
    box = loaded.Box()
    assert put(loaded, "self.SIZE / 2", "self.SIZE * 2")
    assert box.half == 8


def test_function_that_another_made_before_is_changed_too(loaded: ModuleType) -> None:
    assert put(loaded, "x + by", "x - by")
    assert loaded.ADD(1) == -2
    assert loaded.adder(5)(1) == -4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("step=1", "step=2"),
        ("SIZE = 4", "SIZE = 5"),
        ("@property", "@staticmethod"),
        ('"twice"', '"XXtwiceXX"'),
        ("adder(LIMIT)", "adder(-LIMIT)"),
    ],
    ids=["constant", "default", "attribute", "decorator", "key", "call"],
)
def test_what_acts_when_a_file_is_loaded_is_left_alone(
    loaded: ModuleType, old: str, new: str
) -> None:
    assert not put(loaded, old, new)
    assert loaded.plus(2) == [3, 3]
    assert loaded.Box().half == 2


def test_function_is_changed_whose_asserts_pytest_rewrote(loaded: ModuleType) -> None:
    source = "def half(x):\n    assert x\n    return x / 2\n"
    tree = ast.parse(source)
    rewrite_asserts(tree, source.encode())
    exec(compile(tree, str(loaded.__file__), "exec"), loaded.__dict__)
    changed = source.replace("x / 2", "x * 2")
    assert put_in_place(source, changed, str(loaded.__file__), [loaded.half])
    assert loaded.half(3) == 6


def test_function_that_is_gone_is_left_to_a_fresh_process(loaded: ModuleType) -> None:
    del loaded.plus
    gc.collect()
    assert not put(loaded, "one + step", "one - step")


def test_file_that_is_loaded_later_is_read_then(tmp_path: Path) -> None:
    assert put_in_place("x = 1", "x = 2", str(tmp_path / "later.py"), [])


def test_tests_that_a_mutant_took_away_are_no_failure(tmp_path: Path) -> None:
    listed = tmp_path / "only.json"
    listed.write_text('["test_a.py::quick", "test_a.py::gone", "test_a.py::slow"]')
    config = SimpleNamespace(getoption=lambda name: {"--only": str(listed)}[name])
    items = [SimpleNamespace(nodeid=f"test_a.py::{name}") for name in ("slow", "other", "quick")]
    only_plugin.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == ["test_a.py::quick", "test_a.py::slow"]
    session = SimpleNamespace(exitstatus=pytest.ExitCode.NO_TESTS_COLLECTED)
    only_plugin.pytest_sessionfinish(session, session.exitstatus)
    assert session.exitstatus == pytest.ExitCode.OK
