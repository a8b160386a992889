"""The catalogue of faults keeps up with the code and the tests, without a fault being planted."""

import ast
import functools
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def _module(name: str) -> ModuleType:
    folder = ROOT / "tests" / "faults"
    # as the command that plants them finds its modules
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


SURVIVORS = yaml.safe_load((ROOT / "tests" / "faults" / "survivors.yaml").read_text())
CATALOGUE, TABLE = _module("catalogue"), _module("table")
RATES = yaml.safe_load(TABLE.RATES.read_text())
FAULTS = (CATALOGUE.SELF_CHECK, *CATALOGUE.FAULTS)


@functools.cache
def _source(file: str) -> str:
    return (ROOT / "sentinel_research" / file).read_text()


@functools.cache
def _tests(file: str) -> frozenset[str]:
    """Tests of a file that a plain run does not leave out."""
    left_out = re.compile(r"pytest\.mark\.(slow|gpu|network)\b")
    return frozenset(
        node.name
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef)
        and not any(left_out.match(ast.unparse(mark)) for mark in node.decorator_list)
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_can_be_planted_in_exactly_one_place(fault: object) -> None:
    source = _source(fault.file)
    assert source.count(fault.old) == 1
    assert fault.new != fault.old
    compile(source.replace(fault.old, fault.new), fault.file, "exec")


@pytest.mark.parametrize("fault", CATALOGUE.FAULTS, ids=lambda fault: fault.name)
def test_check_that_must_notice_a_fault_is_in_the_normal_suites(fault: object) -> None:
    file, _, name = fault.caught_by.partition("::")
    assert name in _tests(file)


def test_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in CATALOGUE.FAULTS]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


def test_table_of_the_docs_is_that_of_the_catalogue_with_every_fault_caught() -> None:
    caught = [TABLE.Row(fault, fault.caught_by, 0.0) for fault in CATALOGUE.FAULTS]
    assert (ROOT / TABLE.DOCUMENT).read_text() == TABLE.document(caught)


@pytest.mark.parametrize("rate", RATES, ids=lambda one: one["area"])
def test_share_of_killed_mutants_is_high_enough_where_it_was_measured(
    rate: dict[str, int],
) -> None:
    counted = rate["drawn"] - rate["equivalent"]
    assert 0.85 * counted <= rate["killed"] <= counted - rate["accepted"]
    assert rate["drawn"] <= rate["mutants"]


@pytest.mark.parametrize("survivor", SURVIVORS, ids=lambda one: one["mutant"])
def test_listed_survivor_is_of_a_line_that_is_there_and_has_a_reason(
    survivor: dict[str, str],
) -> None:
    place, _, rest = survivor["mutant"].partition(" | ")
    rows = {row.strip() for row in _source(place.partition(" ")[0]).splitlines()}
    assert any(rest.startswith(f"{row} | ") for row in rows)
    assert survivor["kind"] in ("equivalent", "accepted")
    assert survivor["reason"]


def test_no_survivor_is_listed_twice() -> None:
    names = [one["mutant"] for one in SURVIVORS]
    assert len(set(names)) == len(names)
