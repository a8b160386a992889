"""Carry out a downstream run: measure every model, fine-tune it for every unit, measure it again.

The record is written after every cell; what is in it is not computed again. A fine-tuning that
fails is recorded, the others still run.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.cells import evaluate_cell, tell_cell
from sentinel_research.downstream.plan import Lessons, Unit, is_before, starts_from
from sentinel_research.errors import DivergedError, SentinelError
from sentinel_research.progress import Progress, piece
from sentinel_research.record import BEFORE, CELLS_FOLDER, CellRecord, Check, RunRecord
from sentinel_research.reporting.numbers import quantity
from sentinel_research.specs import ModelSpec, Recipe
from sentinel_research.trained import MODEL_FOLDER

_CHECKPOINTS_FOLDER = "training"


def run_downstream(
    recipe: Recipe, lessons: Lessons, record: RunRecord, folder: Path, progress: Progress
) -> None:
    """Measure and fine-tune everything that the record does not have yet.

    Args:
        recipe: With `downstream`.
        lessons: Its tasks.
        record: With the planned cells.
        folder: The run folder.
        progress: Who is told about progress.

    Raises:
        UsageError, DataError, CheckpointError: for a request that no model can serve.
    """
    run = _Run(recipe, lessons, record, folder, progress)
    to_do = [cell for cell in record.cells if cell.status != "done"]
    kinds = [cell.fine_tuned_on or "measured" for cell in to_do]
    done = len(record.cells) - len(to_do)
    with piece(progress, f"{recipe.name}: models", len(record.cells), done=done, kinds=kinds):
        for cell in to_do:
            run.carry_out(cell)
            tell_cell(progress, cell.id, run.own_recipe(cell), cell)
    run.finish()


class _Run:
    """What the cells of a run share."""

    def __init__(
        self, recipe: Recipe, lessons: Lessons, record: RunRecord, folder: Path, progress: Progress
    ) -> None:
        assert recipe.downstream is not None  # the caller's recipe fine-tunes
        self._recipe, self._record, self._folder, self._progress = recipe, record, folder, progress
        self._spec = recipe.downstream
        self._units = {unit.name: unit for unit in lessons.units}
        self._documents = distributed.together(self._choose_documents)
        self._answers: dict[tuple[str, str], Any] = {}
        if record.downstream is None:
            record.downstream = {
                "models": {name: {} for name in self._spec.models},
                "units": {name: self._unit_report(unit) for name, unit in self._units.items()},
                "groups": lessons.groups,
            }
            record.write(folder)

    def carry_out(self, cell: CellRecord) -> None:
        """One cell, whatever it is; its failure is its status and not the end of the run."""
        cell.status, cell.error = "started", None
        try:
            if cell.fine_tuned_on is not None:
                self._fine_tune(cell)
            elif is_before(cell):
                self._measure(cell, *self._load(cell))
            else:
                distributed.on_main(lambda: self._measure_majority(cell))
            cell.status = "done"
        except DivergedError as error:
            cell.train, cell.status, cell.error = error.report, "failed", str(error)
        except SentinelError as error:
            cell.status, cell.error = "failed", str(error)
        finally:
            self._record.write(self._folder)

    def finish(self) -> None:
        """Where the data came from, and that every model learnt from the same documents."""
        record = self._record
        evaluated = [cell.evaluation for cell in record.cells if cell.evaluation is not None]
        by_task = {one["task"]: one for report in evaluated for one in report.datasets}
        record.datasets = [
            *by_task.values(),
            *(
                {**one.report, "task": f"fine-tuning, {one.task.config.task}"}
                for chosen in self._documents.values()
                for one in chosen
            ),
        ]
        record.checks = [_same_lesson(record, unit) for unit in self._units]
        record.write(self._folder)

    def own_recipe(self, cell: CellRecord) -> Recipe:
        """What is measured of a cell: the tasks of its unit, or all that it can answer."""
        tasks = list(self._recipe.evaluate.tasks)
        if cell.fine_tuned_on is not None:
            tasks = [cell.fine_tuned_on]
        elif not is_before(cell):
            tasks = list(self._majorities())
        update = {"evaluate": self._recipe.evaluate.model_copy(update={"tasks": tasks})}
        return self._recipe.model_copy(update=update)

    def _fine_tune(self, cell: CellRecord) -> None:
        from sentinel_research.downstream.fine_tune import fine_tune, forget
        from sentinel_research.models import load_tokenizer, save

        # what is fine-tuned has all three
        assert cell.arm is not None
        assert cell.arm.seed is not None
        assert cell.fine_tuned_on is not None
        own = self._folder / CELLS_FOLDER / cell.id
        tokenizer = load_tokenizer(self._source(cell))
        unit = cell.fine_tuned_on
        found = fine_tune(
            lambda: self._load(cell)[0],
            tokenizer,
            self._spec,
            self._answer_set(cell, unit, tokenizer),
            unit=unit,
            seed=cell.arm.seed,
            folder=own / _CHECKPOINTS_FOLDER,
            progress=self._progress,
            title=cell.id,
        )
        cell.train, cell.arm.learning_rate = found.report, found.learning_rate
        self._record.write(self._folder)
        if self._spec.save_models and cell.model_folder is None:
            target = own / MODEL_FOLDER
            distributed.on_main(lambda: save(found.model, tokenizer, target))
            cell.model_folder = str(target.relative_to(self._folder))
        self._measure(cell, found.model, tokenizer)
        forget(own / _CHECKPOINTS_FOLDER)

    def _measure(self, cell: CellRecord, model: Any, tokenizer: Any) -> None:
        from sentinel_research.evaluation.limits import check_limits

        evaluate = self._recipe.evaluate
        check_limits(model.config, evaluate.max_length, evaluate.prefix_token_id)
        recipe = self.own_recipe(cell)
        evaluate_cell(recipe, model, tokenizer, cell, self._folder, progress=self._progress)

    def _measure_majority(self, cell: CellRecord) -> None:
        from sentinel_research.evaluation import evaluate_lm
        from sentinel_research.evaluation.majority import MajorityLM

        evaluate = self.own_recipe(cell).evaluate
        assert evaluate.max_length is not None  # the recipe was validated
        if evaluate.tasks:
            lm = MajorityLM(self._majorities())
            cell.evaluation = evaluate_lm(lm, evaluate, evaluate.max_length)

    def _majorities(self) -> dict[str, int]:
        """The most frequent right choice of the training documents, by task."""
        return {
            one.task.config.task: one.majority
            for chosen in self._documents.values()
            for one in chosen
            if one.majority is not None
        }

    def _load(self, cell: CellRecord) -> tuple[Any, Any]:
        from sentinel_research.pruning import load

        source = self._source(cell)
        model, tokenizer, report = load(source)
        assert self._record.downstream is not None
        assert cell.arm is not None
        name = cell.arm.name.removesuffix(BEFORE)
        self._record.downstream["models"][name][source.pretrained] = report
        return model, tokenizer

    def _source(self, cell: CellRecord) -> ModelSpec:
        checkpoint = starts_from(cell, self._spec)
        return self._recipe.model.model_copy(update={"pretrained": checkpoint})

    def _answer_set(self, cell: CellRecord, unit: str, tokenizer: Any) -> Any:
        """The documents of a unit in the tokens of a model; those of its repetitions are alike."""
        from sentinel_research.downstream.documents import answer_set

        assert cell.arm is not None
        key = (cell.arm.name, unit)
        if key not in self._answers:
            chosen, evaluate = self._documents[unit], self._recipe.evaluate
            self._answers = {
                key: distributed.together(lambda: answer_set(chosen, tokenizer, evaluate))
            }
        return self._answers[key]

    def _choose_documents(self) -> dict[str, Any]:
        from sentinel_research.downstream.documents import choose_documents

        return {name: choose_documents(unit, self._spec) for name, unit in self._units.items()}

    def _unit_report(self, unit: Unit) -> dict[str, Any]:
        chosen = self._documents[unit.name]
        return {
            "tasks": list(unit.tasks),
            "documents": {one.task.config.task: one.report for one in chosen},
        }


def _same_lesson(record: RunRecord, unit: str) -> Check:
    """All models were offered the same documents and steps for a unit."""
    found = Counter(
        (
            cell.train["data"]["documents_sha256"],
            cell.train["data"]["num_sequences"],
            tuple(cell.train["held_out_losses"]),
        )
        for cell in record.cells
        if cell.fine_tuned_on == unit and cell.train is not None and "data" in cell.train
    )
    parts = [
        f"{quantity(number, 'fine-tuning')}: {documents:,} documents {digest[:12]}, learning "
        f"rates {', '.join(rates)}"
        for (digest, documents, rates), number in found.items()
    ]
    return Check(
        name=f"{unit}: every model was fine-tuned on the same documents at the same rates",
        passed=len(found) <= 1,
        detail=", ".join(parts) or "no model was fine-tuned to its end",
    )
