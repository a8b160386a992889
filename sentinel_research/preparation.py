"""What all cells of one model share: the model itself, its text, its scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.cell_plan import PlannedCell
from sentinel_research.cells import Prepared
from sentinel_research.errors import DivergedError
from sentinel_research.evaluation.questions import Questions
from sentinel_research.progress import Progress
from sentinel_research.pruner import Pruner
from sentinel_research.record import RunRecord
from sentinel_research.recoverer import Recoverer
from sentinel_research.specs import Recipe
from sentinel_research.trained import MODEL_FOLDER, stored, train_model


def prepare(
    recipe: Recipe,
    to_do: list[PlannedCell],
    record: RunRecord,
    folder: Path,
    progress: Progress,
    kept: Callable[[], object],
    questions: Questions | None = None,
) -> Prepared:
    """Load the model of a run, or train it, and everything that its cells share.

    Args:
        recipe: Of one model.
        to_do: The cells that are still to be computed.
        record: Of the run; `load` and `train` are set here.
        folder: Where a trained model is kept.
        progress: Who is told about a training.
        kept: Writes the record.
        questions: What was made for other models that are asked the same; none by default.

    Raises:
        UsageError, DataError, CheckpointError, DivergedError: if a cell could not be carried out.
    """
    from sentinel_research.evaluation.limits import check_generation, check_limits
    from sentinel_research.pruning import load

    source = recipe.model
    _refuse_parts(to_do)
    if recipe.train is not None:
        if not (folder / MODEL_FOLDER).exists():
            _train(recipe, record, folder, progress, kept)
        source = stored(recipe.model, folder)
    # what is pruned is stored in a few bits afterwards, cell by cell
    stores = recipe.prune is None and recipe.recover is None
    model, tokenizer, record.load = load(source, stores=stores)
    check_limits(model.config, recipe.evaluate.max_length, recipe.evaluate.prefix_token_id)
    check_generation(recipe.evaluate, model.config, tokenizer)
    specs = [one.prune for one in to_do if one.prune]
    pruner = Pruner(model, tokenizer, recipe, specs)
    recoverer = Recoverer(model, tokenizer, pruner, progress)
    distributed.together(lambda: recoverer.check(to_do))
    kept()
    return Prepared(model, tokenizer, pruner, recoverer, questions or Questions(), progress)


def _refuse_parts(to_do: list[PlannedCell]) -> None:
    """Refuse, before anything is trained, what cannot be where the weights are divided."""
    recoveries = [cell.recover for cell in to_do if cell.recover is not None]
    if recoveries and distributed.divides_weights():
        from sentinel_research.recoveries.methods import check_divided

        for one in recoveries:
            check_divided(one.methods)


def _train(
    recipe: Recipe,
    record: RunRecord,
    folder: Path,
    progress: Progress,
    kept: Callable[[], object],
) -> None:
    def keep(report: dict[str, Any]) -> None:
        record.train = report
        kept()

    try:
        train_model(recipe, folder, progress, keep)
    except DivergedError as error:
        keep(error.report)
        raise
