"""The catalogue of faults keeps up with the code: each can be planted in exactly one place."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def _catalogue() -> ModuleType:
    folder = ROOT / "tests" / "faults"
    # as the command that plants them finds its modules
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("catalogue")
    finally:
        sys.path.remove(str(folder))


CATALOGUE = _catalogue()
FAULTS = (CATALOGUE.SELF_CHECK, *CATALOGUE.FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_can_be_planted_in_exactly_one_place(fault: object) -> None:
    source = (ROOT / "sentinel_research" / fault.file).read_text()
    assert source.count(fault.old) == 1
    assert fault.new != fault.old


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_valid_python(fault: object) -> None:
    source = (ROOT / "sentinel_research" / fault.file).read_text()
    compile(source.replace(fault.old, fault.new), fault.file, "exec")


@pytest.mark.parametrize("fault", CATALOGUE.FAULTS, ids=lambda fault: fault.name)
def test_tests_that_must_notice_a_fault_exist(fault: object) -> None:
    assert all((ROOT / path).exists() for path in fault.tests)


def test_there_are_at_least_twenty_faults_with_names_of_their_own() -> None:
    names = [fault.name for fault in CATALOGUE.FAULTS]
    assert len(names) >= 20
    assert len(set(names)) == len(names)
