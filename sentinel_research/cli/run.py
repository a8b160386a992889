"""`sentinel run`: resolve a recipe, show it (`--dry-run`) or run it, and print the result."""

from pathlib import Path

from sentinel_research import distributed
from sentinel_research.cli.flags import Told, check_told, shown_progress
from sentinel_research.cli.sweep import Chosen, ending, sweep
from sentinel_research.process import prepare_process
from sentinel_research.recipe import ResolvedRecipe, load_recipe


def run_recipe(
    name: str,
    overrides: list[str],
    *,
    output: Path | None,
    dry_run: bool,
    told: Told,
    executor: Chosen,
) -> int:
    """See `sentinel run --help`.

    Returns:
        0 if every cell ran (in a dry run: can be pruned) and every check held, 1 otherwise.
    """
    resolved = load_recipe(name, overrides)
    executor.check(resolved.recipe)
    return carry_out(resolved, output=output, dry_run=dry_run, told=told, executor=executor)


def tuning_overrides(name: str, trials: int) -> list[str]:
    """`--tune`: the search in place of the grid that a recipe may have."""
    recipe = load_recipe(name).recipe
    grid = ["compare.learning_rates=[]"] if recipe.compare is not None else []
    return [*grid, f"tune.trials={trials}"]


def carry_out(
    resolved: ResolvedRecipe,
    *,
    output: Path | None,
    dry_run: bool,
    told: Told,
    executor: Chosen = Chosen(),  # noqa: B008
) -> int:
    """Show a recipe or run it, as `run_recipe` says."""
    prepare_process()
    check_told(told)
    if dry_run:
        distributed.refuse_several("a dry run", "start it without a launcher")
        from sentinel_research.dry_run import dry_run as describe

        print(_origins(resolved))
        preview = describe(resolved.recipe, output)
        print(preview.text)
        return 1 if preview.num_failed else 0
    if resolved.recipe.sweep is not None:
        with shown_progress(told) as progress:
            swept = sweep(resolved.recipe, output, executor, progress)
        print(ending(swept))
        return 0 if swept.is_sound else 1
    from sentinel_research.pipeline import run

    with shown_progress(told) as progress:
        record = run(resolved.recipe, output, progress=progress)
    if distributed.is_main():
        from sentinel_research.reporting import summary

        print(summary(record))
    return 0 if record.status == "done" else 1


def _origins(resolved: ResolvedRecipe) -> str:
    values = resolved.recipe.model_dump(mode="json")
    lines = [f"recipe {resolved.recipe.name} ({resolved.path})"]
    width = max(len(key) for key in resolved.sources)
    for key, source in resolved.sources.items():
        node = values
        for part in key.split("."):
            node = node[part]
        lines.append(f"  {key:<{width}}  {node!s:<24}  {source}")
    return "\n".join(lines)
