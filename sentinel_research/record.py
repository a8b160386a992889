"""RunRecord: what was asked, what was resolved, what was measured.

Strict versioned JSON (no NaN, no infinity), written atomically after every stage. A metric that
was not computed is absent, with the reason under `not_measured`; no field has a default score.
"""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentinel_research.distributed import is_main
from sentinel_research.errors import UsageError
from sentinel_research.files import write_atomically

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"
INDEX_FILE = "cells.json"
"""Of a sweep's model: its record with all cells as they were planned; each has a record of its own
in a folder of `CELLS_FOLDER`."""
CELLS_FOLDER = "cells"
"""In a run folder, a folder for each cell's files."""
MAJORITY = "majority class"
"""Arm that always gives the most frequent answer of the training documents."""
BEFORE = ", before"
"""Behind the name of an arm that was not fine-tuned."""
Status = Literal["started", "done", "failed"]
_HEADLINES = ("token_perplexity", "word_perplexity", "acc")
_HINT = "pass a folder written by `sentinel run`, or another --output"


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        validate_assignment=True,
    )


class Measurement(_Part):
    """One metric of one task."""

    task: str
    """lm-eval task name."""
    metric: str
    """Metric name, without lm-eval's filter suffix."""
    filter: str = "none"
    """lm-eval's filter name."""
    value: float
    """The measured value."""
    stderr: float | None
    """Standard error in the metric's unit; null where none could be computed."""
    higher_is_better: bool | None
    """Direction; null if the task does not say."""


class EvaluationReport(_Part):
    """One lm-eval evaluation."""

    measurements: list[Measurement]
    """Every metric that was computed."""
    not_measured: dict[str, str] = Field(default_factory=dict)
    """`task/metric` -> reason, for metrics a task declares but did not return."""
    task_hashes: dict[str, str]
    """Hash of the documents, prompts and targets of each task, in order, by lm-eval's hash of
    each."""
    document_hashes: dict[str, str] = Field(default_factory=dict)
    """The same of the documents only; empty in records that were written before it was kept."""
    prompt_hashes: dict[str, str] = Field(default_factory=dict)
    """The same of the prompts and targets only; empty as above."""
    num_documents: dict[str, int]
    """Documents evaluated, per task."""
    datasets: list[dict[str, Any]] = Field(default_factory=list)
    """Where each task's documents came from."""
    max_length: int
    """Perplexity window in tokens."""
    samples: dict[str, str] = Field(default_factory=dict)
    """Task -> file with per-document samples, relative to the run folder."""
    seconds: float
    """Wall time of the evaluation."""
    lm_eval: dict[str, Any]
    """lm-eval's own results, verbatim."""
    scoring: dict[str, Any] | None = None
    """How log-likelihoods were computed: `reads_shared_beginnings_once`, or every request whole;
    and the `batch_size`, found if that was `auto`. Null if it is not known."""
    long_context: dict[str, Any] | None = None
    """Scores by position and costs by length, see `evaluation.long_context`; null if not asked
    for."""
    generation: dict[str, Any] | None = None
    """Quality of written text and speed of writing, see `evaluation.generation`; null if not asked
    for."""
    answers_of: str | None = None
    """Fingerprint of the model under which answers were kept, and found if there were any: then
    `seconds` is not the time that they take. Null if all were computed."""

    def measurement(self, task: str, metric: str) -> Measurement:
        """The measurement of `metric` on `task`; KeyError names what was measured."""
        for one in self.measurements:
            if one.task == task and one.metric == metric:
                return one
        raise KeyError(
            f"{task}/{metric} not in {[f'{m.task}/{m.metric}' for m in self.measurements]}"
        )

    def headline(self, task: str | None) -> Measurement | None:
        """The measurement that stands for all where there is room for one.

        Args:
            task: The recipe's first; where it was not measured, as a group, the first that was.

        Returns:
            Perplexity or accuracy if the task has one, else its first metric; None without any.
        """
        tasks = [one.task for one in self.measurements]
        own = [
            one for one in self.measurements if one.task == (task if task in tasks else tasks[0])
        ]
        for metric in _HEADLINES:
            for one in own:
                if one.metric == metric:
                    return one
        return own[0] if own else None


class Check(_Part):
    """Something that must hold about a result, and whether it did."""

    name: str
    """What was checked."""
    passed: bool
    """Whether it held."""
    detail: str
    """The numbers behind the verdict."""


class Arm(_Part):
    """One of several models that are trained and compared."""

    name: str
    """Its architecture's or model's name in the recipe; `ngramN`; `majority class`."""
    seed: int | None
    """Of initialisation and data order; null for what has none."""
    learning_rate: float | None
    """Peak rate; null for what is not trained, and while the grid has not been searched."""
    is_tuning: bool = False
    """Whether it is a point of the grid of learning rates."""
    is_chosen: bool | None = None
    """Whether its rate was the best of the grid; null while that is open, and outside a grid."""
    trial: int | None = None
    """Which trial of a search it is, from 0; null outside a search."""
    settings: dict[str, float] | None = None
    """Of the training, as searched; null while that is open, and outside a search."""


class CellRecord(_Part):
    """The dense model of a run (`prune_spec` null), a pruning, a recovery, or a compared model."""

    id: str
    """Stable name of the cell, also its folder."""
    status: Status = "started"
    """How far it came."""
    prune_spec: dict[str, Any] | None
    """The PruneSpec asked for; null for the dense model."""
    recover_spec: dict[str, Any] | None = None
    """The RecoverSpec asked for; null for a model as pruning left it."""
    arm: Arm | None = None
    """Which of the compared models it is; null in a run that compares none."""
    fine_tuned_on: str | None = None
    """The task or group that a downstream run fine-tuned the model on; null for any other model."""
    train: dict[str, Any] | None = None
    """The train stage's report of a compared or fine-tuned model, also of one that diverged."""
    prune: dict[str, Any] | None = None
    """The prune stage's report with its plan; null until it ran, and for the dense model."""
    recover: dict[str, Any] | None = None
    """The recover stage's report, also of one that diverged; null if the cell has no recovery."""
    precision: dict[str, Any] | None = None
    """How the measured model's weights are held, a StoreReport; null where they keep their type, or
    where all models of the run are loaded so (`load`)."""
    evaluation: EvaluationReport | None = None
    """The evaluate stage's report; null until it ran."""
    checks: list[Check] = Field(default_factory=list)
    """Checks on this cell's results."""
    model_folder: str | None = None
    """Saved checkpoint relative to the run folder, if the recipe keeps models."""
    error: str | None = None
    """Why the cell failed."""

    def moved(self, out_of: str = "", into: str = "") -> "CellRecord":
        """The same with the paths of its files as they are from another folder.

        Args:
            out_of: Beginning of the paths to leave out, with a slash at its end.
            into: What to put there instead.
        """

        def place(path: str) -> str:
            return into + path.removeprefix(out_of)

        found = self.model_copy()
        if self.evaluation is not None:
            samples = {task: place(path) for task, path in self.evaluation.samples.items()}
            found.evaluation = self.evaluation.model_copy(update={"samples": samples})
        if self.model_folder is not None:
            found.model_folder = place(self.model_folder)
        return found


class CellOf(_Part):
    """Where the record of one cell belongs, and what the cell took."""

    run: str
    """Folder of the sweep's model, relative to the cell's own; the training's report is there."""
    dense: str | None
    """Folder of the dense model's record, relative to the cell's own; null for the dense model."""
    kind: str
    """Cells of one kind take about the same time."""
    seconds: float
    """Wall time of all stages."""
    processor_seconds: float
    """Time that the threads of the process that computed it were on a processor."""
    peak_memory_bytes: int | None
    """Largest memory of that process while it computed the cell; null where it is not known."""
    computed_on: str
    """Machine and process."""


class RunRecord(_Part):
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

    def write(self, folder: Path) -> Path:
        """Write `record.json` into `folder` atomically and return its path; main process only."""
        path = folder / RECORD_FILE
        if is_main():
            write_atomically(path, self.model_dump_json(indent=1) + "\n")
        return path

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
