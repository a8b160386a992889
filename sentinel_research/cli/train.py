"""`sentinel train`: one architecture from scratch, by flags or by the sections of a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.cli.flags import Told
from sentinel_research.cli.run import carry_out
from sentinel_research.recipe import load_training
from sentinel_research.trained import MODEL_FOLDER


def train_recipe(
    recipe: str | None,
    settings: Mapping[str, Any],
    overrides: list[str],
    *,
    output: Path | None,
    dry_run: bool,
    told: Told,
) -> int:
    """See `sentinel train --help`.

    Args:
        recipe: Recipe whose model and training are taken, if any.
        settings: Values of flags by the recipe's dotted key; None is a flag that was not given.
        overrides: `--set` values.
        output: Run folder.
        dry_run: Show instead of running.
        told: Who is told.

    Returns:
        0 if the model was trained, 1 if not.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    resolved = load_training(recipe, given, overrides)
    code = carry_out(resolved, output=output, dry_run=dry_run, told=told)
    if code == 0 and not dry_run and distributed.is_main():
        from sentinel_research.pipeline import default_folder

        print((output or default_folder(resolved.recipe)) / MODEL_FOLDER)
    return code
