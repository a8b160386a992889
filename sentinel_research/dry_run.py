"""`sentinel run --dry-run`: what a recipe would do, without training or measuring anything."""

from typing import Any

from sentinel_research.pipeline import plan_cells
from sentinel_research.specs import PruneSpec, Recipe

_HEADS_SHOWN = 16


def dry_run(recipe: Recipe) -> str:
    """Describe a run: tasks found, heads to remove, parameters and FLOPs before and after.

    Args:
        recipe: The resolved recipe. A pretrained model is loaded and scored as in the run. For a
            model that is yet to be trained the heads are not known, but all counts are.

    Returns:
        Lines for people.

    Raises:
        UsageError, DataError, CheckpointError: as the run itself would.
    """
    from sentinel_research.data.mirror import use_mirror
    from sentinel_research.evaluation import find_tasks

    cells = plan_cells(recipe)
    if recipe.data is not None:
        use_mirror(recipe.data)
    find_tasks(recipe.evaluate.tasks)
    lines = [f"tasks found: {', '.join(recipe.evaluate.tasks)}"]
    if recipe.train is not None:
        lines.append(
            f"training: {recipe.train.num_steps} steps of {recipe.train.batch_size} x "
            f"{recipe.train.sequence_length} tokens of the corpus {recipe.train.corpus}"
        )
    lines.append(f"models to evaluate: {len(cells)}")
    model, sequences = _model_and_sequences(recipe)
    lines.append(f"  dense: {model.num_parameters():,} parameters")
    for cell_id, spec in cells:
        if spec is not None:
            lines.append(f"  {cell_id}: {_effect(model, spec, sequences, recipe)}")
    return "\n".join(lines)


def _model_and_sequences(recipe: Recipe) -> tuple[Any, Any]:
    from sentinel_research.data.calibration import calibration_sequences, corpus_tokenizer
    from sentinel_research.models import build, load, load_tokenizer

    if recipe.train is None:
        model, tokenizer, _ = load(recipe.model)
    else:
        assert recipe.model.architecture is not None  # the recipe was validated
        tokenizer = (
            load_tokenizer(recipe.model)
            if recipe.model.tokenizer
            else corpus_tokenizer(recipe.train.corpus)
        )
        model = build(
            recipe.model.architecture, recipe.model.config, tokenizer, seed=recipe.train.seed
        ).eval()
    if recipe.prune is None or recipe.prune.calibration is None:
        return model, None
    return model, calibration_sequences(recipe.prune.calibration, tokenizer)


def _effect(model: Any, spec: PruneSpec, sequences: Any, recipe: Recipe) -> str:
    from sentinel_research.pruning import prune

    trained = recipe.train is None
    # untrained weights: every scorer removes as many heads as any other, which ones is not known
    asked = spec if trained else spec.model_copy(update={"scorer": "random"})
    report = prune(model, asked, sequences=sequences).report
    counts = (
        f"{report.num_heads_removed} of {report.num_heads_before} heads, parameters "
        f"{report.num_parameters_before:,} -> {report.num_parameters_after:,}, FLOPs per token "
        f"{report.flops_per_token_before:,.0f} -> {report.flops_per_token_after:,.0f}"
    )
    if not trained:
        return f"{counts} (random heads; which ones is known after training)"
    shown = report.removed_heads[:_HEADS_SHOWN]
    more = len(report.removed_heads) - len(shown)
    return f"{counts}: {' '.join(shown)}{f' and {more} more' if more else ''}"
