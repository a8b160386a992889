"""`--downstream`: fine-tune what the benchmark trained, as `sentinel downstream` does."""

import shutil
from pathlib import Path

from sentinel_research.downstream_command.recipes import recipe_of
from sentinel_research.downstream_command.request import DownstreamRequest
from sentinel_research.downstream_command.run import Outcome, run_and_write
from sentinel_research.mamba_vs_bk.models import chosen
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.mamba_vs_bk.schema import Failure
from sentinel_research.progress import Progress
from sentinel_research.record import CELLS_FOLDER, RunRecord
from sentinel_research.reporting.architectures.results import cells_of
from sentinel_research.specs import Recipe
from sentinel_research.trained import MODEL_FOLDER


def check_downstream(request: BenchmarkRequest) -> None:
    """Refuse tasks that cannot be had, before anything is trained for hours.

    Args:
        request: With `downstream`.

    Raises:
        UsageError, DataError: see `downstream.documents.choose_documents`.
    """
    from sentinel_research.data.mirror import use_mirror
    from sentinel_research.downstream.documents import choose_documents
    from sentinel_research.downstream.plan import load_lessons

    if request.data is not None:
        use_mirror(request.data)
    recipe = _recipe(request, dict.fromkeys(chosen(request.model), ("",)), request.all_seeds[:1])
    assert recipe.downstream is not None  # made so
    for unit in load_lessons(recipe).units:
        choose_documents(unit, recipe.downstream)


def fine_tune_models(
    request: BenchmarkRequest, dataset: str, record: RunRecord, folder: Path, progress: Progress
) -> tuple[Outcome | None, list[Failure]]:
    """Fine-tune every model of which all seeds were trained.

    Args:
        request: With `downstream`.
        dataset: What the models were trained on.
        record: Of that run.
        folder: Its folder.
        progress: Who is told about progress.

    Returns:
        The run, None if there is no model; and everything that was asked for and not measured.
    """
    models, failures = {}, []
    for name in chosen(request.model):
        # by its place: a finished fine-tuning is read again when the model has gone
        found = {
            cell.arm.seed: folder / CELLS_FOLDER / cell.id / MODEL_FOLDER
            for cell in cells_of(record, name)
            if cell.arm is not None and cell.status == "done"
        }
        if set(found) == set(request.all_seeds):
            models[name] = tuple(str(found[seed]) for seed in request.all_seeds)
        else:
            error = f"fine-tuning needs {name} with every seed, and it was not trained with all"
            failures.append(Failure(dataset=dataset, cell=None, error=error))
    if not models:
        return None, failures
    recipe = _recipe(request, models, request.all_seeds)
    config = request.model_dump(mode="json")
    outcome = run_and_write(recipe, request.output_dir, config, progress)
    failures += [
        Failure(dataset=dataset, cell=cell.id, error=cell.error or f"status {cell.status}")
        for cell in outcome.record.cells
        if cell.status != "done"
    ]
    if request.no_checkpoint and not failures:
        _forget_models(record, folder)
    return outcome, failures


def _recipe(
    request: BenchmarkRequest, models: dict[str, tuple[str, ...]], seeds: tuple[int, ...]
) -> Recipe:
    asked = DownstreamRequest(
        tasks=request.task_names,
        model_name=tuple(models),
        epochs=request.downstream_epochs,
        train_documents=request.downstream_documents,
        lr=request.downstream_lr,
        batch_size=request.batch_size,
        seq_len=request.downstream_seq_len,
        limit=request.limit,
        precision="fp32" if request.bits == 32 else "bf16",
        device=request.device,
        data=request.data,
    )
    return recipe_of(asked, models, seeds)


def _forget_models(record: RunRecord, folder: Path) -> None:
    """Delete the models that the benchmark was asked not to keep."""
    for cell in record.cells:
        if cell.model_folder is not None:
            shutil.rmtree(folder / cell.model_folder)
            cell.model_folder = None
    record.write(folder)
