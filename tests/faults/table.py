"""The tables of what the tests notice: of faults, and what caught each, and of mutants."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from fault import Fault

DOCUMENT = "docs/faults.md"
RATES = Path(__file__).with_name("rates.yaml")
"""Of every area the mutants that were drawn, and what became of them."""
MUTANTS_HEADING = "## Mutants"
_INTRODUCTION = """\
# Does the net catch fish?

Each line is a fault that was planted in a copy of the package: a small edit that is legal in shape
and silent. The check in the last column must fail, by name; so it did in the run that wrote this
file. `python tests/faults/run.py --write` plants all of them again (`tox -e faults` every night).

A check is a test of the normal suites, by its file in `tests/`.
"""
_OF_MUTANTS = f"""\
{MUTANTS_HEADING}

Faults were chosen by hand. Mutants are not: each is one small change by an operator of
[mutmut](https://mutmut.readthedocs.io), such as `<` to `<=` or a key that is another, drawn by a
seed among all of a part of the package. `tox -e mutation -- AREA --sample 40 --seed 0` draws these
again (every night draws 60 of each area), and `--write` writes this table.

A mutant is killed if a test fails that runs its lines, or does not end. One that survives is listed
in `tests/faults/survivors.yaml` with its reason, or gets a test. `equivalent` ones do what the
program does, whatever is asked, and do not count; `accepted` ones are noticed by nobody, and count
as survivors. The share has its exact 95% interval; below 85 percent the night fails. What these
draws left alive has got its tests, so that another seed says more of what nobody has looked at.

| area | mutants | drawn | killed | equivalent | accepted | killed of the others |
|---|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    """What became of one fault."""

    fault: Fault
    """What was planted."""
    caught_by: str
    """The test that failed, or `time` for a run that did not end; empty if nothing noticed."""
    seconds: float
    """Until then."""

    @property
    def is_caught_by_its_check(self) -> bool:
        """Whether the check that the fault names noticed."""
        return self.caught_by == self.fault.caught_by

    @property
    def words(self) -> str:
        """What caught it, as the table says it."""
        if self.is_caught_by_its_check:
            return _short(self.caught_by)
        if not self.caught_by:
            return "**nothing**"
        return f"only {_short(self.caught_by)}, **not** {_short(self.fault.caught_by)}"


def _short(check: str) -> str:
    """A check by its file in `tests`, and its name."""
    file, _, name = check.partition("::")
    return f"`{file.removeprefix('tests/').removesuffix('.py')}` `{name}`" if name else check


def table_head(num_faults: int) -> str:
    """The heading of the table that is printed."""
    return f"| fault ({num_faults}) | law | caught by | seconds |\n|---|---|---|---|"


def row_line(row: Row) -> str:
    """A row of the table that is printed."""
    return f"| {row.fault.name} | {row.fault.law} | {row.words} | {row.seconds:.0f} |"


def rate_line(rows: Sequence[Row]) -> str:
    """How many were caught."""
    caught, named = sum(bool(row.caught_by) for row in rows), sum(map(_is_named, rows))
    return f"{caught} of {len(rows)} faults caught, {named} by the check that they name"


def _is_named(row: Row) -> bool:
    return row.is_caught_by_its_check


def document(rows: Sequence[Row]) -> str:
    """The table that is kept, without what differs from run to run."""
    lines = [f"| {one.fault.name} | {one.fault.law} | {one.words} |" for one in rows]
    head = "| fault | law | caught by |\n|---|---|---|\n"
    faults = f"{_INTRODUCTION}\n{rate_line(rows)}.\n\n{head}" + "\n".join(lines) + "\n"
    return f"{faults}\n{mutants_section(yaml.safe_load(RATES.read_text()))}"


class Rate(NamedTuple):
    """What became of the mutants of an area."""

    area: str
    mutants: int
    """All that there are."""
    drawn: int
    killed: int
    equivalent: int
    """Drawn, not killed, and listed so."""
    accepted: int
    """Drawn, not killed, and listed so."""

    @property
    def counted(self) -> int:
        """Drawn, and not equivalent."""
        return self.drawn - self.equivalent

    @property
    def line(self) -> str:
        """A row of the table."""
        return f"| {' | '.join([*map(str, self), self._share])} |"

    @property
    def _share(self) -> str:
        from scipy.stats import binomtest

        if not self.counted:
            return "none"
        low, high = binomtest(self.killed, self.counted).proportion_ci(0.95, method="exact")
        return f"{self.killed / self.counted:.0%} ({low:.0%} to {high:.0%})"


def mutants_section(rates: Sequence[dict[str, Any]]) -> str:
    """What the document says of mutants.

    Args:
        rates: The fields of each `Rate`.
    """
    return _OF_MUTANTS + "".join(f"{Rate(**one).line}\n" for one in rates)
