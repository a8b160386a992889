"""How a run ended, and what a reader must know before any number."""

from sentinel_research.record import RunRecord
from sentinel_research.reporting.estimates import Group
from sentinel_research.reporting.numbers import quantity, some


def compares_models(record: RunRecord) -> bool:
    """Whether a run is of several models beside each other, and not of one and its prunings."""
    return bool(record.recipe.get("compare") or record.recipe.get("downstream"))


def list_problems(record: RunRecord, groups: list[Group]) -> list[str]:
    """What a reader must know before any number.

    Args:
        record: The run.
        groups: Its cells, grouped.
    """
    problems = []
    if record.status == "failed":
        problems.append(
            f"The run failed: {record.error}" if record.error else "The run ended with failures."
        )
    elif record.error is not None:
        problems.append(f"The run recorded an error: {record.error}")
    if record.status == "started":
        problems.append("The run is not finished: the numbers below are what it has so far.")
    failed = [cell.id for cell in record.cells if cell.status == "failed"]
    if failed:
        problems.append(f"{quantity(len(failed), 'cell')} failed: {some(failed)}")
    begun = [cell.id for cell in record.cells if cell.status == "started"]
    if begun:
        problems.append(f"{quantity(len(begun), 'cell')} not finished: {some(begun)}")
    absent = [group.name for group in groups if not group.cells]
    if absent:
        problems.append(f"Not run: {some(absent)}")
    problems += [f"Check failed: {check.name} ({check.detail})" for check in record.failed_checks()]
    return problems


def verdict(record: RunRecord) -> str:
    """How the run ended, in one sentence."""
    checks = [*record.checks, *(check for cell in record.cells for check in cell.checks)]
    done = sum(cell.status == "done" for cell in record.cells)
    passed = sum(check.passed for check in checks)
    cells = f"{done} of {quantity(len(record.cells), 'cell')} done"
    held = (
        f"{passed} of {quantity(len(checks), 'check')} passed" if checks else "nothing was checked"
    )
    return f"{record.status.capitalize()}: {cells}, {held}."
