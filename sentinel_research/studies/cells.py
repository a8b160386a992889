"""The cells of a run as a study sees them: one series of fractions for each criterion and seed."""

from pathlib import Path
from typing import NamedTuple

from sentinel_research import registry
from sentinel_research.judgement.family import Asked
from sentinel_research.judgement.subjects import Pair, Subject
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.estimates import arm_of, list_metrics
from sentinel_research.specs import CalibrationSpec


class Mask(NamedTuple):
    """A measured pruning."""

    arm: str
    """Variant and scorer."""
    fraction: float
    """Share removed."""
    seed: int | None
    """Of its random mask; null for other scorers."""
    calibration: CalibrationSpec | None
    """The text that it was scored on; null if its scorer reads none."""
    subject: Subject
    """The measured cell."""

    @property
    def scorer(self) -> str:
        """The scorer alone."""
        return str((self.subject.cell.prune_spec or {})["scorer"])


def dense_subject(record: RunRecord, folder: Path) -> Subject | None:
    """The dense model of a run; None while it is not measured."""
    for cell in record.cells:
        if cell.prune_spec is None and cell.recover_spec is None and cell.evaluation is not None:
            return _subject(record, cell, folder)
    return None


def read_masks(record: RunRecord, folder: Path) -> list[Mask]:
    """Every measured pruning; of several draws of one calibration text the first.

    Args:
        record: A run of one model.
        folder: Its folder, with the samples.
    """
    found: dict[tuple[str, float, int | None], Mask] = {}
    for cell in record.cells:
        spec = cell.prune_spec
        if spec is None or cell.recover_spec is not None or cell.evaluation is None:
            continue
        plugin = registry.get("scorers", spec["scorer"])
        seed = spec["seed"] if plugin.seeded else None
        text = spec["calibration"] if plugin.calibrated else None
        mask = Mask(
            arm_of(spec),
            spec["fraction"],
            seed,
            None if text is None else CalibrationSpec.model_validate(text),
            _subject(record, cell, folder),
        )
        found.setdefault((mask.arm, mask.fraction, seed), mask)
    return list(found.values())


def list_evaluated(record: RunRecord) -> list[str]:
    """The tasks with documents of their own, in the order of the dense model's measurements."""
    cells = [cell for cell in record.cells if cell.evaluation is not None]
    hashes = cells[0].evaluation.task_hashes if cells and cells[0].evaluation else {}
    return list(hashes)


def ask(record: RunRecord, first: Subject, second: Subject, task: str) -> Asked:
    """The comparison of two cells on a task, by the metric that reports plot."""
    return Asked(Pair(first, second), task, list_metrics(record, task)[0])


def _subject(record: RunRecord, cell: CellRecord, folder: Path) -> Subject:
    # the name is kept in the record, which says nothing of where the folder was
    return Subject(cell.id, folder.resolve(), record, cell)
