"""The table of faults and what caught each."""

from collections.abc import Sequence
from typing import NamedTuple

from fault import Fault

DOCUMENT = "docs/faults.md"
_INTRODUCTION = """\
# Does the net catch fish?

Each line is a fault that was planted in a copy of the package: a small edit that is legal in shape
and silent. The check in the last column must fail, by name; so it did in the run that wrote this
file. `python tests/faults/run.py --write` plants all of them again (`tox -e faults` every night).

A check is a test of the normal suites, by its file in `tests/`.
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
    return f"{_INTRODUCTION}\n{rate_line(rows)}.\n\n{head}" + "\n".join(lines) + "\n"
