"""RunRecord: what was asked, what was resolved, what was measured.

Strict versioned JSON (no NaN, no infinity), written atomically after every stage. A metric that
was not computed is absent, with the reason under `not_measured`; no field has a default score.
"""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sentinel_research.cell_record import Arm as Arm
from sentinel_research.cell_record import CellOf as CellOf
from sentinel_research.cell_record import CellRecord as CellRecord
from sentinel_research.cell_record import Check as Check
from sentinel_research.cell_record import EvaluationReport as EvaluationReport
from sentinel_research.cell_record import Measurement as Measurement
from sentinel_research.cell_record import Part as Part
from sentinel_research.cell_record import Status as Status
from sentinel_research.distributed import is_main
from sentinel_research.errors import UsageError
from sentinel_research.files import write_atomically
from sentinel_research.redact import redacted_json

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"
INDEX_FILE = "cells.json"
"""Of a sweep's model: its record with all cells as they were planned; each has a record of its own
in a folder of `CELLS_FOLDER`."""
CELLS_FOLDER = "cells"
"""In a run folder, a folder for each cell's files."""
SWEEP_FILE = "sweep.json"
"""Of a sweep: its name, and those of its models."""
MODELS_FOLDER = "models"
"""In the folder of a sweep of named models, a folder for each."""
MAJORITY = "majority class"
"""Arm that always gives the most frequent answer of the training documents."""
BEFORE = ", before"
"""Behind the name of an arm that was not fine-tuned."""
_HINT = "pass a folder written by `sentinel run`, or another --output"


class TrackedBy(Part):
    """One tracker that the run was told to."""

    tracker: str
    """Its name, as `--track` takes it."""
    run: str | None = None
    """What the tracker calls the run, by which it is gone on with; null where it did not say."""
    where: str | None = None
    """Address or folder, without passwords; null where it did not say."""
    failed: str | None = None
    """Why it has not got everything; null if it has."""


class RunRecord(Part):
    """Everything about one run."""

    schema_version: int = SCHEMA_VERSION
    """Version of this layout."""
    name: str
    """The recipe's name."""
    status: Status = "started"
    """How far the run came."""
    recipe: dict[str, Any]
    """The resolved recipe."""
    recipe_fingerprint: str
    """Fingerprint of the resolved recipe: two runs with the same one asked for the same numbers."""
    synthetic_data: bool
    """True if any number was measured on the package's synthetic language."""
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None = None
    """UTC, ISO 8601; null while the run is not done."""
    environment: dict[str, Any]
    """Versions, device, machine and git state."""
    load: dict[str, Any] | None = None
    """The load stage's report; null for models trained from scratch."""
    train: dict[str, Any] | None = None
    """The train stage's report; null for pretrained models."""
    comparison: dict[str, Any] | None = None
    """Of compared architectures: `models` as they were matched, `learning_rates` as chosen, and
    `tuning` with the trials and the budget of a search."""
    downstream: dict[str, Any] | None = None
    """Of a downstream run: `models` as they were loaded, `units` with their documents, `groups`."""
    study: dict[str, Any] | None = None
    """What the recipe's study found, see `studies.schema`; null if it asks none, and until all
    cells are measured."""
    datasets: list[dict[str, Any]] = Field(default_factory=list)
    """Provenance of every dataset read: source, revision or file hashes, text hash."""
    cells: list[CellRecord] = Field(default_factory=list)
    """Dense model first, then every pruning."""
    checks: list[Check] = Field(default_factory=list)
    """Checks on the run as a whole."""
    tracking: list[TrackedBy] = Field(default_factory=list)
    """Trackers that were told of the run; no number depends on them."""
    error: str | None = None
    """Why the run failed."""
    cell_of: CellOf | None = None
    """Of one cell of a sweep, where it belongs; null for a run with a record of its own."""

    def cell(self, cell_id: str) -> CellRecord:
        """The cell named `cell_id`; KeyError if there is none."""
        for one in self.cells:
            if one.id == cell_id:
                return one
        raise KeyError(cell_id)

    def failed_checks(self) -> list[Check]:
        """Every check of the run and its cells that did not hold."""
        checks = [*self.checks, *(check for cell in self.cells for check in cell.checks)]
        return [check for check in checks if not check.passed]

    def require_sound(self) -> None:
        """Refuse a run whose numbers nothing may be built on.

        Raises:
            UsageError: if it is not done, or a check failed.
        """
        if self.status != "done":
            raise UsageError(
                f"the run '{self.name}' is {self.status}, not done",
                "the command that started it goes on with it",
            )
        for check in self.failed_checks():
            raise UsageError(
                f"a check of the run '{self.name}' failed: {check.name}: {check.detail}",
                "explain that first: its numbers cannot be kept",
            )

    def write(self, folder: Path, *, indent: int | None = 1) -> Path:
        """Write `record.json` into `folder` atomically and return its path; main process only.

        Args:
            folder: The run folder.
            indent: None writes one line: a plan with many units takes a third of the space.
        """
        path = folder / RECORD_FILE
        if is_main():
            write_atomically(path, self.to_json(indent) + "\n")
        return path

    def to_json(self, indent: int | None = 1) -> str:
        """The record as it is written: no secret of this process' environment is in it."""
        return redacted_json(self.model_dump_json(indent=indent), indent=indent)

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read the record of a run folder; that of a sweep's model is joined from its cells'.

        Raises:
            UsageError: if the file is missing, is not a record, or is of another version.
        """
        path = folder / RECORD_FILE
        if not path.exists() and (folder / INDEX_FILE).exists():
            return cls._joined(folder)
        try:
            return cls.parse(path.read_text(encoding="utf-8"), path)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}", _HINT) from error

    @classmethod
    def _joined(cls, folder: Path) -> "RunRecord":
        """The index of a model's cells, with every cell that was computed."""
        index = folder / INDEX_FILE
        found = cls.parse(index.read_text(encoding="utf-8"), index)
        cells: list[CellRecord] = []
        for planned in found.cells:
            own = folder / CELLS_FOLDER / planned.id
            if not (own / RECORD_FILE).exists():
                cells.append(planned)
                continue
            record = cls.read(own)
            # the same for all cells of a model
            found.load, found.datasets = record.load, record.datasets
            found.checks = found.checks or record.checks
            cells.append(record.cells[0].moved(into=f"{CELLS_FOLDER}/{planned.id}/"))
        found.cells = cells
        return found

    @classmethod
    def parse(cls, text: str, path: Path) -> "RunRecord":
        """The record that a file holds.

        Args:
            text: What is in it.
            path: The file, for messages.

        Raises:
            UsageError: if it is not a record, or is of another version.
        """
        try:
            content = json.loads(text)
            version = content.get("schema_version")
            if version != SCHEMA_VERSION:
                raise UsageError(
                    f"{path} has schema version {version}, this package reads {SCHEMA_VERSION}",
                    _HINT,
                )
            return cls.model_validate(content)
        except (json.JSONDecodeError, AttributeError) as error:
            raise UsageError(f"{path} is not a run record: {error}", _HINT) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{path}: `{where}`: {first['msg']}", _HINT) from error


def now() -> str:
    """The current time, UTC, ISO 8601 with seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
