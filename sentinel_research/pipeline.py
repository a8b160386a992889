"""From a recipe to a record: load or train, then for every cell prune, recover, evaluate.

Each stage is a function of its own package; this module strings them together, writes the record
after each one, and on the same command goes on where the record ends. It decides nothing about
how a model is trained, pruned or measured.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from sentinel_research import distributed
from sentinel_research.cell_plan import DENSE, PlannedCell, plan_cells
from sentinel_research.cells import run_cell, tell_cell
from sentinel_research.environment import environment
from sentinel_research.errors import CheckFailedError, SentinelError, UsageError
from sentinel_research.files import create_folder
from sentinel_research.inputs import define_inputs, record_inputs
from sentinel_research.preparation import prepare
from sentinel_research.progress import Progress, piece, watched
from sentinel_research.record import RECORD_FILE, CellRecord, RunRecord, now
from sentinel_research.specs import Recipe
from sentinel_research.tracking import tracked

DEFAULT_ROOT = Path("runs")


def default_folder(recipe: Recipe) -> Path:
    """`runs/NAME-FINGERPRINT`: another request never lands in the same folder."""
    return DEFAULT_ROOT / f"{recipe.name}-{recipe.fingerprint()[:8]}"


def run(
    recipe: Recipe,
    output: Path | None = None,
    *,
    progress: Progress | None = None,
    track: Iterable[str] = (),
) -> RunRecord:
    """Run a recipe, or go on with it.

    Args:
        recipe: What to do.
        output: Run folder; `runs/NAME-FINGERPRINT` by default. A folder that holds a started run of
            the same recipe is continued: finished stages are not computed again.
        progress: Who is told about progress.
        track: Names of trackers that are told too, such as `mlflow`; no number depends on them.

    Returns:
        The finished record. A cell that failed is recorded, the other cells still run.

    Raises:
        UsageError: for a request that cannot be carried out, or a folder of another recipe.
        CheckFailedError: at the end, if a check on the results failed; the record is complete.
    """
    if recipe.sweep is not None:
        raise UsageError(
            f"the recipe '{recipe.name}' is a sweep, which has many records",
            "sentinel_research.sweep.run_sweep(recipe) returns what became of its cells",
        )
    progress = tracked(track, progress)
    all_cells = plan_cells(recipe)
    define_inputs(recipe)
    folder = output or default_folder(recipe)
    distributed.on_main(lambda: create_folder(folder))
    # the main process holds it for all
    is_main = distributed.is_main()
    try:
        with FileLock(folder / ".lock", timeout=0) if is_main else nullcontext():
            record = _run_locked(recipe, all_cells, folder, progress)
    except Timeout as error:
        raise UsageError(
            f"another process is running in {folder}", "wait for it, or choose another --output"
        ) from error
    progress.say(f"record: {folder / RECORD_FILE}\nreport: {folder / 'report.html'}")
    _refuse_failed_checks(record, folder)
    return record


def _run_locked(
    recipe: Recipe,
    all_cells: list[PlannedCell],
    folder: Path,
    progress: Progress,
) -> RunRecord:
    distributed.on_main(lambda: _begin_record(recipe, folder))
    # nobody goes on, and writes, before all have read
    record = distributed.together(lambda: _open_record(recipe, folder))
    try:
        with watched(progress, record, folder):
            _carry_out(recipe, all_cells, record, folder, progress)
    finally:
        if record.tracking:
            # with what came of the trackers at their end
            record.write(folder)
    return record


def _carry_out(
    recipe: Recipe,
    all_cells: list[PlannedCell],
    record: RunRecord,
    folder: Path,
    progress: Progress,
) -> None:
    try:
        # what a run does not need is not imported: it would be most of the time to its first number
        if recipe.downstream is not None:
            from sentinel_research.downstream import load_lessons, plan_downstream, run_downstream

            lessons = distributed.together(lambda: load_lessons(recipe))
            _add_cells(record, plan_downstream(recipe.downstream, lessons.units), folder)
            run_downstream(recipe, lessons, record, folder, progress)
        elif recipe.compare is not None:
            from sentinel_research.comparison import plan_comparison, run_comparison

            _add_cells(record, plan_comparison(recipe.compare, recipe.tune), folder)
            run_comparison(recipe, record, folder, progress)
        else:
            _run_cells(recipe, all_cells, record, folder, progress)
    except SentinelError as error:
        _close(record, folder, progress, str(error))
        raise
    _close(record, folder, progress)


def _run_cells(
    recipe: Recipe,
    all_cells: list[PlannedCell],
    record: RunRecord,
    folder: Path,
    progress: Progress,
) -> None:
    _add_cells(record, [planned.new_record for planned in all_cells], folder)
    to_do = [planned for planned in all_cells if record.cell(planned.id).status != "done"]
    kept = partial(record.write, folder)
    prepared = prepare(recipe, to_do, record, folder, progress, kept)
    num_done = len(all_cells) - len(to_do)
    kinds = [planned.kind for planned in to_do]
    with piece(progress, f"{recipe.name}: models", len(all_cells), done=num_done, kinds=kinds):
        for planned in all_cells:
            cell = record.cell(planned.id)
            if planned in to_do:
                run_cell(recipe, prepared, cell, planned, kept, folder)
            if planned.id == DENSE and cell.evaluation is not None:
                record_inputs(recipe, record, cell.evaluation)
            if planned in to_do:
                tell_cell(progress, planned.id, recipe, cell)
    if not all_cells:
        record_inputs(recipe, record, None)
    conclude(recipe, record, folder)


def conclude(recipe: Recipe, record: RunRecord, folder: Path) -> None:
    """What all cells of one model show together, once they came to their end.

    Args:
        recipe: Of the model.
        record: With all cells; `study` and `checks` are set here.
        folder: Where their samples are.
    """
    if recipe.study is not None and distributed.is_main():
        from sentinel_research.studies import run_study

        record.study = run_study(recipe.study, record, folder)
    if recipe.recover is not None:
        from sentinel_research.budgets import NAME, check_budgets

        others = [check for check in record.checks if check.name != NAME]
        record.checks = [*others, check_budgets(record)]


def _close(record: RunRecord, folder: Path, progress: Progress, error: str | None = None) -> None:
    """Say in the record how the run ended, and write its report."""
    from sentinel_research.reporting import report

    is_done = error is None and all(cell.status == "done" for cell in record.cells)
    record.status, record.error = "done" if is_done else "failed", error
    record.finished_at = now()
    record.write(folder)
    if distributed.is_main():
        report(folder)
        progress.concluded(record, folder)


def _refuse_failed_checks(record: RunRecord, folder: Path) -> None:
    failed = record.failed_checks()
    if failed:
        raise CheckFailedError(
            "\n".join(f"check failed: {check.name}: {check.detail}" for check in failed),
            f"the numbers are in {folder / RECORD_FILE}; do not use them before this is explained",
        )


def _begin_record(recipe: Recipe, folder: Path) -> None:
    """Write the record of a run that has none yet."""
    if not (folder / RECORD_FILE).exists():
        new_record(recipe).write(folder)


def new_record(recipe: Recipe) -> RunRecord:
    """The record of a run that begins now, without cells."""
    return RunRecord(
        name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        recipe_fingerprint=recipe.fingerprint(),
        synthetic_data=reads_synthetic_data(recipe),
        started_at=now(),
        environment=environment(recipe.model.device),
    )


def _open_record(recipe: Recipe, folder: Path) -> RunRecord:
    record = RunRecord.read(folder)
    refuse_other(recipe, record, folder)
    if record.status == "failed":
        record.status, record.error = "started", None
    return record


def refuse_other(recipe: Recipe, record: RunRecord, folder: Path) -> None:
    """Refuse a folder whose record is of another recipe.

    Raises:
        UsageError: if it is.
    """
    if record.recipe_fingerprint != recipe.fingerprint():
        raise UsageError(
            f"{folder} holds a run of another recipe "
            f"({record.name}, fingerprint {record.recipe_fingerprint})",
            "choose another folder with --output DIR",
        )


def reads_synthetic_data(recipe: Recipe) -> bool:
    """Whether anything is fitted on or measured on the package's synthetic language."""
    long_context, generation = recipe.evaluate.long_context, recipe.evaluate.generation
    recover = recipe.recover
    corpora = {
        *(recipe.train.corpora if recipe.train else ()),
        *(name for spec in (recover.specs if recover else ()) for name in spec.train.corpora),
        long_context.corpus if long_context else None,
        generation.corpus if generation else None,
        *(draw.corpus for draw in (recipe.prune.calibrations if recipe.prune else ())),
    }
    made = {"synthetic"}
    for name, spec in recipe.corpora.items():
        made |= {name} if spec.corpus in made else set()
    measured = {
        task.removesuffix("_validation").removeprefix("sentinel_") for task in recipe.evaluate.tasks
    }
    return not made.isdisjoint(corpora | measured)


def _add_cells(record: RunRecord, cells: list[CellRecord], folder: Path) -> None:
    known = {cell.id for cell in record.cells}
    record.cells = [*record.cells, *(cell for cell in cells if cell.id not in known)]
    record.write(folder)
