"""What is explored: a model, the text that it is looked at with, and what a run knows of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.data.calibration import calibration_set
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.evaluation.limits import check_limits
from sentinel_research.explorer.limits import check_memory, free_bytes
from sentinel_research.inputs import define_inputs
from sentinel_research.models import structure_of
from sentinel_research.models.anatomy import anatomy_of, context_length
from sentinel_research.models.checkpoint import check_checkpoint
from sentinel_research.pipeline import reads_synthetic_data
from sentinel_research.pruning import PruningPlan, load
from sentinel_research.pruning.calibrate import check_calibration
from sentinel_research.pruning.named import names_of
from sentinel_research.recipe import load_evaluation, parse
from sentinel_research.record import INDEX_FILE, RECORD_FILE, RunRecord
from sentinel_research.specs import CalibrationSpec, Recipe
from sentinel_research.specs.explore import ExploreSpec
from sentinel_research.structure import Structure
from sentinel_research.trained import stored

_CORPUS = "synthetic"
_NUM_SEQUENCES, _SEQUENCE_LENGTH, _LIMIT = 32, 128, 64
_MODEL_FILE = "config.json"


@dataclass(frozen=True)
class Subject:
    """What is explored; nothing here ever changes."""

    name: str
    """For people."""
    recipe: Recipe
    """Model, corpora and measurement, which every exported recipe has too; no pruning."""
    calibration_spec: CalibrationSpec
    """Of the text below."""
    model: PreTrainedModel
    """The model as it was loaded."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    calibration: CalibrationSet
    """What scores and predicted losses are about."""
    synthetic_data: bool
    """Whether any of the text is the synthetic language."""
    plans: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What the cells of a run removed, by name."""
    start: str | None = None
    """The cell whose plan is to be shown first."""

    @property
    def structure(self) -> Structure:
        """What the model has."""
        return structure_of(self.model.config)

    @property
    def task(self) -> str:
        """The task that stands for all."""
        return self.recipe.evaluate.tasks[0]


@dataclass(frozen=True)
class _Source:
    """Where a model comes from, before it is loaded."""

    name: str
    recipe: Recipe
    calibration: CalibrationSpec | None
    record: RunRecord | None = None
    cell: str | None = None


def load_subject(spec: ExploreSpec) -> Subject:
    """Load what is to be explored.

    Args:
        spec: The request.

    Raises:
        UsageError: for a run without one model, a cell that is not there, a family whose parts are
            not known, text that does not suit the model, or a model that does not fit into memory.
        CheckpointError: if there is no such model.
        DataError: if the text cannot be had.
    """
    source = _of_run(spec) or _of_model(spec)
    recipe = source.recipe
    define_inputs(recipe)
    files = check_checkpoint(str(recipe.model.pretrained), recipe.model.revision)
    free = free_bytes(recipe.model.device)
    check_memory(source.name, sum(file.stat().st_size for file in files), free)
    model, tokenizer, _ = load(recipe.model)
    # says which families can be pruned
    anatomy_of(model.config)
    check_limits(model.config, recipe.evaluate.max_length, recipe.evaluate.prefix_token_id)
    asked = _calibration(spec, source, context_length(model.config))
    text = calibration_set(
        asked,
        tokenizer,
        add_bos_token=recipe.evaluate.add_bos_token,
        prefix_token_id=recipe.evaluate.prefix_token_id,
    )
    check_calibration(text, model)
    return Subject(
        source.name,
        recipe,
        asked,
        model,
        tokenizer,
        text,
        reads_synthetic_data(recipe) or asked.corpus == _CORPUS,
        _plans(source.record, structure_of(model.config)),
        source.cell,
    )


def _of_model(spec: ExploreSpec) -> _Source:
    """A model by itself, measured as flags say."""
    settings: dict[str, Any] = {
        "model.dtype": spec.dtype,
        "model.device": spec.device,
        "evaluate.tasks": [f"sentinel_{spec.corpus or _CORPUS}"],
        "evaluate.limit": spec.limit or _LIMIT,
    }
    if spec.data is not None:
        settings["data"] = str(spec.data)
    path = Path(spec.target).expanduser()
    # what is exported is run from any folder
    target = str(path.resolve()) if path.is_dir() else spec.target
    resolved = load_evaluation(target, settings, spec.overrides)
    return _Source(Path(target).name or target, resolved.recipe, None)


def _of_run(spec: ExploreSpec) -> _Source | None:
    """A run with its model, measurement and calibration; None if the target is no run."""
    folder, cell = Path(spec.target).expanduser(), None
    if not folder.exists() and ":" in spec.target:
        text, _, cell = spec.target.rpartition(":")
        folder = Path(text).expanduser()
    if not any((folder / name).is_file() for name in (RECORD_FILE, INDEX_FILE)):
        return None
    record = RunRecord.read(folder)
    if cell is not None and cell not in {one.id for one in record.cells}:
        known = [one.id for one in record.cells if one.prune is not None]
        raise UsageError(f"'{cell}' is no cell of {folder}", did_you_mean(cell, known))
    recipe = parse(Recipe, record.recipe, str(folder / RECORD_FILE))
    if recipe.compare or recipe.downstream or recipe.sweep or not recipe.evaluate.tasks:
        raise UsageError(
            f"{folder} is a run of several models, or of none that was measured", _models_in(folder)
        )
    if spec.overrides or spec.dtype != "auto":
        raise UsageError(
            f"{folder} is a run, whose settings are its own",
            "Leave --set and --dtype out, or name its model: sentinel explore "
            f"{recipe.model.pretrained or folder / 'model'}",
        )
    draws = recipe.prune.calibrations if recipe.prune is not None else []
    measured = _as_measured(spec, recipe, folder)
    return _Source(folder.resolve().name, measured, draws[0] if draws else None, record, cell)


def _as_measured(spec: ExploreSpec, recipe: Recipe, folder: Path) -> Recipe:
    """The recipe of a run's model alone, with what flags change about it."""
    model = recipe.model
    if recipe.train is not None:
        model = stored(model, folder.resolve())
        if not (folder / "model" / _MODEL_FILE).is_file():
            raise UsageError(
                f"{folder} has no trained model yet", "finish it: the same command resumes"
            )
    changes: dict[str, Any] = {"long_context": None, "generation": None}
    if spec.limit is not None:
        changes["limit"] = spec.limit
    if spec.corpus is not None:
        changes["tasks"] = [f"sentinel_{spec.corpus}"]
    content = {
        "name": recipe.name,
        "description": recipe.description,
        "data": str(spec.data) if spec.data is not None else recipe.data,
        "corpora": recipe.corpora,
        "model": model.model_copy(update={"device": spec.device}),
        "evaluate": recipe.evaluate.model_copy(update=changes),
    }
    return parse(Recipe, content, str(folder))


def _models_in(folder: Path) -> str:
    found = sorted(path.parent for path in folder.glob(f"**/model/{_MODEL_FILE}"))
    return f"name one of its models: {', '.join(map(str, found)) or 'it has kept none'}"


def _calibration(spec: ExploreSpec, source: _Source, context: int | None) -> CalibrationSpec:
    """The text that scores are read from: the run's, changed by flags, or what flags ask for."""
    own = source.calibration
    if spec.corpus is not None or own is None:
        length = min(_SEQUENCE_LENGTH, context or _SEQUENCE_LENGTH)
        corpus = spec.corpus or _corpus_of(source.recipe.evaluate.tasks)
        own = CalibrationSpec(corpus=corpus, num_sequences=_NUM_SEQUENCES, sequence_length=length)
    given = {"num_sequences": spec.sequences, "sequence_length": spec.sequence_length}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return CalibrationSpec.model_validate({**own.model_dump(), **changes})
    except ValidationError as error:
        raise UsageError(str(error.errors()[0]["msg"])) from error


def _corpus_of(tasks: list[str]) -> str:
    """The corpus whose test split a run measures, else the synthetic language."""
    from sentinel_research.data.catalogue import known_corpora

    found = (task.removeprefix("sentinel_").removesuffix("_validation") for task in tasks)
    return next((name for name in found if name in known_corpora()), _CORPUS)


def _plans(record: RunRecord | None, structure: Structure) -> dict[str, tuple[str, ...]]:
    """What every cell of a run removed of this model; those of single weights are left out."""
    found = {}
    for cell in record.cells if record is not None else ():
        if cell.prune is None or cell.recover_spec is not None:
            continue
        plan = PruningPlan.model_validate(cell.prune["plan"])
        if plan.before == structure and not plan.weights:
            found[cell.id] = names_of(plan)
    return found
