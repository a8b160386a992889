"""One cell of a run: prune, recover, evaluate, check, with the record written after every stage."""

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research import distributed
from sentinel_research.cell_plan import DENSE, PlannedCell
from sentinel_research.errors import DivergedError, SentinelError, StorageError
from sentinel_research.evaluation.questions import Questions
from sentinel_research.progress import Progress, piece, printable
from sentinel_research.pruner import Pruner
from sentinel_research.record import CELLS_FOLDER, CellRecord, Check, EvaluationReport
from sentinel_research.recoverer import Recoverer
from sentinel_research.specs import Recipe

RECOVERY_FOLDER = "recovery"


class Prepared(NamedTuple):
    """What all cells of a run share."""

    model: Any
    """The dense model; cells never change it."""
    tokenizer: Any
    """Its tokenizer."""
    pruner: Pruner
    """Prunes the model, and keeps what prunings have in common."""
    recoverer: Recoverer
    """Trains what was pruned, and keeps the text that trainings have in common."""
    questions: Questions
    """What all models are asked."""
    progress: Progress
    """Who is told."""
    model_name: str = ""
    """In a sweep of several models, which one this is."""

    def label(self, cell: str) -> str:
        """A cell's name among those of all models."""
        return f"{self.model_name}/{cell}" if self.model_name else cell


def run_cell(
    recipe: Recipe,
    prepared: Prepared,
    cell: CellRecord,
    planned: PlannedCell,
    kept: Callable[[], object],
    folder: Path,
) -> None:
    """Carry one cell through its stages; its failure is recorded and does not stop the others.

    Args:
        recipe: The run's recipe.
        prepared: What all cells share.
        cell: The cell's record, filled in here.
        planned: What is asked of it.
        kept: Writes the record that the cell's is part of; called after every stage.
        folder: The run folder.

    Raises:
        StorageError: if what was computed cannot be written: that is no fault of the cell.
    """
    stages = list(_stages(prepared, planned))
    try:
        cell.error, cell.status = None, "started"
        title = prepared.label(planned.id)
        with piece(prepared.progress, title, len(stages), kinds=stages):
            _run_stages(recipe, prepared, cell, planned, kept, folder)
        cell.status = "done"
    except DivergedError as error:
        cell.recover, cell.status, cell.error = error.report, "failed", str(error)
    except StorageError:
        raise
    except SentinelError as error:
        cell.status, cell.error = "failed", str(error)
    kept()


def _stages(prepared: Prepared, planned: PlannedCell) -> Iterator[str]:
    """What a cell goes through; stages of one name take about the same time in all cells."""
    if planned.prune is not None and not prepared.recoverer.prunes(planned):
        yield "prune"
    if planned.recover is not None:
        yield f"recover {planned.recover.variant}"
    yield "evaluate"


def _run_stages(
    recipe: Recipe,
    prepared: Prepared,
    cell: CellRecord,
    planned: PlannedCell,
    kept: Callable[[], object],
    folder: Path,
) -> None:
    own, progress = folder / CELLS_FOLDER / cell.id, prepared.progress
    model, plan = prepared.model, None
    if planned.prune is not None and not prepared.recoverer.prunes(planned):
        spec = planned.prune
        model, report = distributed.together(lambda: prepared.pruner.prune(spec))
        cell.prune, plan = report.model_dump(mode="json"), report.plan
        kept()
        progress.advance("pruned")
    if planned.recover is not None:
        model, cell.recover, pruned = prepared.recoverer.recover(
            model, planned, plan, own / RECOVERY_FOLDER
        )
        cell.prune = pruned.model_dump(mode="json") if pruned is not None else cell.prune
        kept()
        model = _laid_out(recipe, model, prepared.model, pruned.plan if pruned else plan)
        progress.advance("recovered")
    if recipe.prune is not None or recipe.recover is not None:
        model, cell.precision = _stored(recipe, model, prepared.model)
    if _is_saved(recipe, planned):
        found = model
        distributed.on_main(lambda: _save(found, prepared.tokenizer, cell, folder))
    evaluate_cell(
        recipe,
        model,
        prepared.tokenizer,
        cell,
        folder,
        questions=prepared.questions,
        progress=progress,
    )
    progress.advance("measured")
    if distributed.is_main():
        # only now is nothing lost with the checkpoints
        shutil.rmtree(own / RECOVERY_FOLDER, ignore_errors=True)


def _laid_out(recipe: Recipe, model: Any, dense: Any, plan: Any) -> Any:
    """The recovered model in the layout that the recipe asks for."""
    from sentinel_research.pruning import expand

    if recipe.recover is None or recipe.recover.layout == "pruned" or plan is None:
        return model
    return expand(model, dense, plan)


def _stored(recipe: Recipe, model: Any, dense: Any) -> tuple[Any, dict[str, Any] | None]:
    """The model in the bits that it is measured in, and how; other cells need the dense one."""
    from sentinel_research.quantisation import store_small

    spec = recipe.model.store
    if spec is None:
        return model, None
    found = copy.deepcopy(model) if model is dense else model
    return found, store_small(found, spec).model_dump(mode="json")


def _is_saved(recipe: Recipe, planned: PlannedCell) -> bool:
    if planned.recover is not None:
        return recipe.recover is not None and recipe.recover.save_models
    return planned.prune is not None and recipe.prune is not None and recipe.prune.save_models


def headline(recipe: Recipe, cell: CellRecord) -> str:
    """The first metric of the first task, for progress lines."""
    if cell.evaluation is None:
        return f"failed: {(cell.error or '').splitlines()[0]}" if cell.error else ""
    one = cell.evaluation.headline(recipe.evaluate.tasks[0])
    return f"{one.metric} {one.value:.4g}" if one is not None else ""


def tell_cell(
    progress: Progress,
    label: str,
    recipe: Recipe,
    cell: CellRecord,
    *,
    advances: bool = True,
    says: bool = False,
) -> None:
    """Say what came of a cell; of the dense model at once, for all others are compared with it.

    Args:
        progress: Who is told.
        label: The cell's name in the run.
        recipe: What it was asked.
        cell: At its end.
        advances: Whether it is a unit of the piece that is open.
        says: Whether it is worth a line as the dense model is.
    """
    said = printable(headline(recipe, cell))
    if cell.status == "failed":
        progress.say(f"{label}: {said}", "failed")
    elif (says or cell.id == DENSE) and cell.evaluation is not None:
        progress.say(f"{label}: {_measured(recipe, cell)}", "done")
    if progress.is_verbose and cell.evaluation is not None:
        from sentinel_research.reporting.numbers import with_error

        for one in cell.evaluation.measurements:
            value = with_error(one.value, one.stderr)
            progress.detail(f"{label}: {one.task} {one.metric} {value}")
    progress.measured(label, cell)
    if advances:
        progress.advance(f"{label} {said}")


def _measured(recipe: Recipe, cell: CellRecord) -> str:
    """The first metric of the first task with its error, and which direction is better."""
    from sentinel_research.reporting.numbers import with_error

    assert cell.evaluation is not None  # the caller's cell has one
    one = cell.evaluation.headline(recipe.evaluate.tasks[0])
    if one is None:
        return "nothing was measured"
    better = {True: ", higher is better", False: ", lower is better", None: ""}
    value = with_error(one.value, one.stderr)
    return f"{one.task} {one.metric} {value}{better[one.higher_is_better]}"


def _save(model: Any, tokenizer: Any, cell: CellRecord, folder: Path) -> None:
    from sentinel_research.models import save

    target = folder / CELLS_FOLDER / cell.id / "model"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        save(model, tokenizer, target)
    cell.model_folder = str(target.relative_to(folder))


def evaluate_cell(
    recipe: Recipe,
    model: Any,
    tokenizer: Any,
    cell: CellRecord,
    folder: Path,
    *,
    questions: Questions | None = None,
    progress: Progress | None = None,
) -> None:
    """Measure a cell's model and check what was measured; all processes call this together.

    Args:
        recipe: The run's recipe.
        model: The cell's model on its device.
        tokenizer: Its tokenizer.
        cell: The cell's record; `evaluation` and `checks` are set here.
        folder: The run folder; samples go to the cell's own folder in it.
        questions: See `evaluation.evaluate`.
        progress: Who is told about every token.

    Raises:
        UsageError, DataError: see `evaluation.evaluate`.
    """
    from sentinel_research.evaluation import evaluate

    samples_folder = folder / CELLS_FOLDER / cell.id
    report = evaluate(
        model,
        tokenizer,
        recipe.evaluate,
        samples_folder=samples_folder,
        questions=questions,
        progress=progress,
    )
    report.samples = {
        task: str((samples_folder / name).relative_to(folder))
        for task, name in report.samples.items()
    }
    cell.evaluation = report
    found: list[Check] = []
    distributed.on_main(lambda: found.extend(_checks(report, folder)))
    cell.checks = found


def _checks(report: EvaluationReport, folder: Path) -> list[Check]:
    """What must hold about the numbers of a cell: nothing beats the source of synthetic text."""
    from sentinel_research.evaluation import read_samples
    from sentinel_research.evaluation.perplexity import leak_check

    checks = []
    for task, path in report.samples.items():
        rows = read_samples(folder / path)
        if "source_log_prob" not in rows[0]:
            continue
        leak = leak_check(
            [row["log_likelihood"] for row in rows], [row["source_log_prob"] for row in rows]
        )
        checks.append(
            Check(
                name=f"{task}: no better than the source of the text",
                passed=not leak.is_leak,
                detail=(
                    f"mean excess over the source {leak.mean_difference_nats:.4g} nats per "
                    f"document, z = {leak.z:.3g}; below -4 the model knows the future"
                ),
            )
        )
    return checks
