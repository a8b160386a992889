"""A finished run against what is kept: for the command line and for tests alike."""

from pathlib import Path
from typing import NamedTuple

from sentinel_research.baselines.check import Finding, check
from sentinel_research.baselines.measured import baselines_of, spec_of
from sentinel_research.baselines.schema import Baseline
from sentinel_research.baselines.store import accept, read_baselines
from sentinel_research.errors import BaselineError, UsageError
from sentinel_research.record import RECORD_FILE, RunRecord


class Judged(NamedTuple):
    """What differs, and out of how much."""

    suite: str
    model: str
    findings: list[Finding]
    num_metrics: int
    """Metrics that were measured, of all variants."""
    changed: list[Path]
    """Files that were written or deleted; none when it is only checked."""

    def __str__(self) -> str:
        from sentinel_research.reporting.numbers import quantity

        whole = f"{self.suite}/{self.model}: {self.num_metrics} metrics"
        if not self.findings:
            return f"{whole}, no difference"
        found = quantity(len(self.findings), "difference")
        return "\n".join([f"{whole}, {found}", *(f"  {one}" for one in self.findings)])


def read_run(path: Path, suite: str | None = None, model: str | None = None) -> RunRecord:
    """The record of a run, for what its recipe says it is a baseline for, or for something else.

    Args:
        path: Run folder, or the record in it.
        suite: In place of what the recipe says.
        model: In place of what the recipe says.

    Raises:
        UsageError: if there is no record, or only one of both is known.
    """
    record = RunRecord.read(path.parent if path.name == RECORD_FILE else path)
    given = {"suite": suite, "model": model}
    named = {key: value for key, value in given.items() if value is not None}
    own = {**(record.recipe.get("baseline") or {}), **named}
    lacking = [f"--{key}" for key in given if key not in own]
    if named and lacking:
        raise UsageError(
            f"{lacking[0]} is missing, and the run '{record.name}' does not name it",
            f"add {lacking[0]} NAME",
        )
    record.recipe = {**record.recipe, "baseline": own or None}
    return record


def check_record(record: RunRecord, folder: Path) -> Judged:
    """Compare a finished run with what is kept of its model.

    Args:
        record: Its recipe says which suite and model it is a baseline for.
        folder: Of all suites.

    Raises:
        BaselineError: if nothing is kept of the model, or a file is damaged or edited.
        UsageError: for a run that is not finished or whose checks failed.
    """
    judged, kept, _ = _judge(record, folder)
    if not kept:
        raise BaselineError(
            f"nothing is kept of {judged.suite}/{judged.model} in {folder}",
            'look at its report, then type: sentinel baseline accept RECORD --why "REASON"',
        )
    return judged


def accept_record(record: RunRecord, folder: Path, why: str) -> Judged:
    """Keep what a finished run measured in place of all that was kept of its model.

    Args:
        record: As for `check_record`.
        folder: Of all suites; the suite's folder is made if there is none.
        why: The reason, not empty.

    Returns:
        The differences that are accepted, and the files that changed.

    Raises:
        UsageError: for an empty reason, and as for `check_record`.
    """
    if not why.strip():
        raise UsageError("--why is empty", "say what changed and why the new numbers are right")
    judged, _, measured = _judge(record, folder)
    return judged._replace(changed=accept(folder, measured, why.strip()))


def _judge(record: RunRecord, folder: Path) -> tuple[Judged, list[Baseline], list[Baseline]]:
    """What differs, what is kept, and what was measured."""
    asked = spec_of(record)
    record.require_sound()
    measured = baselines_of(record)
    kept = read_baselines(folder, asked.suite, asked.model)
    num_metrics = sum(len(one.metrics) for one in measured)
    judged = Judged(asked.suite, asked.model, check(kept, measured), num_metrics, [])
    return judged, kept, measured
