"""Train a model as a recipe says and keep it: the one way from specs to a trained checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.progress import Progress
from sentinel_research.specs import ModelSpec, Recipe

MODEL_FOLDER = "model"
_CHECKPOINTS_FOLDER = "training"
Kept = Callable[[dict[str, Any]], None]


def recipe_tokenizer(recipe: Recipe) -> Any:
    """The tokenizer of what a recipe trains: the one it names, else the corpus' own.

    Args:
        recipe: With `train`.

    Raises:
        UsageError: if it names none and the corpus has none.
        CheckpointError: if it cannot be loaded.
    """
    from sentinel_research.data.training_set import corpus_tokenizer
    from sentinel_research.models import load_tokenizer

    assert recipe.train is not None  # the recipe was validated
    named = recipe.model.tokenizer is not None
    return load_tokenizer(recipe.model) if named else corpus_tokenizer(recipe.train)


def untrained(recipe: Recipe) -> tuple[Any, Any]:
    """The model of a recipe before training, on the CPU, and its tokenizer.

    Args:
        recipe: With `train` and an architecture.

    Raises:
        UsageError: for an unknown architecture or key, a tokenizer that is not named, or a
            measurement that the model cannot serve.
        DataError: if there is too little text for the long sequences that will be scored, or for
            the prompts that will be continued.
        CheckpointError: if the tokenizer cannot be loaded.
    """
    from sentinel_research.data.long_sequences import long_sequences
    from sentinel_research.evaluation.limits import check_generation, check_limits
    from sentinel_research.models import build, with_agency

    assert recipe.train is not None  # the recipe was validated: these two come together
    assert recipe.model.architecture is not None
    tokenizer = recipe_tokenizer(recipe)
    model = build(recipe.model.architecture, recipe.model.config, tokenizer, seed=recipe.train.seed)
    check_limits(model.config, recipe.evaluate.max_length, recipe.evaluate.prefix_token_id)
    # what is missing should not come to light after the training
    check_generation(recipe.evaluate, model.config, tokenizer)
    if recipe.evaluate.long_context is not None:
        long_sequences(recipe.evaluate.long_context, tokenizer)
    return with_agency(model, recipe.model), tokenizer


def train_model(
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    kept: Kept,
    *,
    title: str = "training",
    adjustments: Any = None,
) -> None:
    """Train the model of a recipe into `folder/model`, or go on with it.

    Args:
        recipe: With `train` and an architecture.
        folder: The model appears here complete; checkpoints are here until then.
        progress: Who is told about every step.
        kept: Gets the stage's report, before the model appears.
        title: What is trained, for people.
        adjustments: `training.Adjustments` of a search; None changes nothing.

    Raises:
        UsageError, DataError, CheckpointError: for a request that cannot be carried out.
        DivergedError: see `training.train`.
    """
    from sentinel_research.data.training_set import training_set
    from sentinel_research.models import place, save
    from sentinel_research.training import train

    assert recipe.train is not None  # the recipe was validated
    spec = recipe.train

    def prepare() -> tuple[Any, Any, Any]:
        model, tokenizer = untrained(recipe)
        place(model, recipe.model.device)
        return model, tokenizer, training_set(spec, tokenizer)

    model, tokenizer, data = distributed.together(prepare)
    checkpoints = folder / _CHECKPOINTS_FOLDER
    model, report = train(
        model,
        spec,
        data.blocks,
        checkpoints,
        validation=data.validation,
        progress=progress,
        adjustments=adjustments,
        tokenizer=tokenizer,
        title=f"{recipe.name}: {title}",
    )
    # the weights come last: where they are, the record knows how they were made
    kept({**report, "data": data.report})

    def keep() -> None:
        save(model, tokenizer, folder / MODEL_FOLDER)
        shutil.rmtree(checkpoints)

    distributed.on_main(keep)


def stored(model: ModelSpec, folder: Path) -> ModelSpec:
    """How to load what `train_model` kept: a resumed run and an uninterrupted one both do.

    Args:
        model: What was trained.
        folder: Where.
    """
    return model.model_copy(
        update={
            "architecture": None,
            "config": {},
            "agency": None,
            "tokenizer": None,
            "pretrained": str(folder / MODEL_FOLDER),
        }
    )
