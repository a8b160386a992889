"""From a request, or a comparison that was run, to the recipe of a downstream run."""

from typing import Any

from sentinel_research.downstream_command.request import (
    FAMILIES,
    TOGETHER,
    DownstreamRequest,
    named_models,
)
from sentinel_research.errors import UsageError
from sentinel_research.recipe import parse
from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.architectures.results import cells_of
from sentinel_research.specs import Recipe

# tokens scored at once: logits of more would not fit beside the model on a small machine
_TOKENS_SCORED_AT_ONCE = 16_384
_LARGEST_BATCH = 64


def downstream_recipe(request: DownstreamRequest) -> Recipe:
    """What a request stands for.

    Args:
        request: The flags.

    Raises:
        UsageError: for models of one name, or a run that compared none.
    """
    if request.run is not None:
        models, seeds = compared_models(request)
    else:
        found = named_models(request.model_name or ())
        models, seeds = {name: (one,) for name, one in found.items()}, request.all_seeds
    return recipe_of(request, models, seeds)


def recipe_of(
    request: DownstreamRequest, models: dict[str, tuple[str, ...]], seeds: tuple[int, ...]
) -> Recipe:
    """The recipe that fine-tunes these models.

    Args:
        request: The flags; its models are not read.
        models: Checkpoints by name.
        seeds: One for each checkpoint of a name.
    """
    tasks = [task for name in request.tasks for task in FAMILIES.get(name, (name,))]
    content: dict[str, Any] = {
        "name": "downstream",
        "description": f"Fine-tunes {', '.join(models)} on {', '.join(request.tasks)}.",
        "data": None if request.data is None else str(request.data),
        "model": {"tokenizer": request.tokenizer, "device": request.device},
        "downstream": {
            "models": models,
            "seeds": list(seeds),
            "train": {
                "batch_size": request.batch_size,
                "learning_rate": request.lr[0],
                "precision": request.precision,
            },
            "learning_rates": list(request.lr) if len(request.lr) > 1 else [],
            "epochs": request.epochs,
            "num_documents": request.train_documents,
            "held_out": request.held_out,
            "together": [task for task in tasks if task in TOGETHER],
            "save_models": request.save_checkpoints,
        },
        "evaluate": {
            "tasks": tasks,
            "limit": request.limit,
            "max_length": request.seq_len,
            "prefix_token_id": request.prefix_token_id,
            "batch_size": max(1, min(_LARGEST_BATCH, _TOKENS_SCORED_AT_ONCE // request.seq_len)),
        },
    }
    return parse(Recipe, content, "downstream")


def compared_models(
    request: DownstreamRequest,
) -> tuple[dict[str, tuple[str, ...]], tuple[int, ...]]:
    """The checkpoints of a finished comparison, and their seeds.

    Args:
        request: With `run`.

    Raises:
        UsageError: if the run compares no architectures, or one of their models is not there.
    """
    assert request.run is not None  # the caller's request has one
    record = RunRecord.read(request.run)
    if record.comparison is None:
        raise UsageError(
            f"--run {request.run}: that run compares no architectures",
            "name its models with --model_name",
        )
    seeds = tuple(record.recipe["compare"]["seeds"])
    models = {}
    compared = record.recipe["compare"]["architectures"]
    for name in request.model_name or compared:
        if name not in compared:
            raise UsageError(
                f"--model_name {name}: the comparison has no such architecture",
                f"it compares {', '.join(compared)}",
            )
        by_seed = {cell.arm.seed: cell for cell in cells_of(record, name) if cell.arm is not None}
        models[name] = tuple(
            str(request.run / _folder(by_seed.get(seed), name, seed)) for seed in seeds
        )
    return models, seeds


def _folder(cell: CellRecord | None, name: str, seed: int) -> str:
    if cell is None or cell.model_folder is None:
        raise UsageError(
            f"the comparison has no model of '{name}' with seed {seed}",
            "run it to its end with `compare.save_models: true`, or name models with --model_name",
        )
    return cell.model_folder
