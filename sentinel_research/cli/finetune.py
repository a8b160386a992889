"""`sentinel finetune`: prune a model and train it back, under the published flags."""

from typing import Annotated

from cyclopts import Parameter

from sentinel_research.cli.flags import (
    BY_DEFAULT,
    PUBLISHED,
    TOLD,
    Shown,
    Told,
    check_told,
    shown_progress,
)
from sentinel_research.finetune.request import FinetuneRequest


def finetune(
    *,
    request: Annotated[FinetuneRequest, PUBLISHED],
    dry_run: Annotated[bool, Parameter(name=["--dry_run", "--dry-run"], negative="")] = False,
    told: Annotated[Shown, TOLD] = BY_DEFAULT,
) -> int:
    """Prune a model's heads, train what is left, and measure it before and after.

    Beside it are always the dense model on the same budget and random masks of the same fraction.
    Record and report are in OUTPUT_DIR. The same command resumes an interrupted run.

    Parameters
    ----------
    dry_run
        Show what would be pruned and trained; train nothing.
    """
    return carry_out(request, dry_run=dry_run, told=told)


def carry_out(request: FinetuneRequest, *, dry_run: bool, told: Shown) -> int:
    """Prune, train and measure, and print what came of it.

    Args:
        request: The flags.
        dry_run: Only say what would be done.
        told: Who is told.
    """
    from sentinel_research.process import prepare_process

    prepare_process()
    # what the models write is kept in the record, whoever reads it
    verbose = request.verbose and not told.quiet
    whole = Told(quiet=told.quiet, track=told.track, verbose=verbose)
    check_told(whole)
    from sentinel_research.finetune.recipes import check_request, finetune_recipe
    from sentinel_research.finetune.run import run_finetune

    if dry_run:
        from sentinel_research.dry_run import dry_run as describe

        check_request(request)
        recipe = finetune_recipe(request)
        preview = describe(recipe)
        print(f"{recipe.description}\n{preview.text}")
        return 1 if preview.num_failed else 0
    with shown_progress(whole) as progress:
        record, folder, figures = run_finetune(request, progress=progress)
    from sentinel_research.reporting import summary

    print(f"{summary(record)}\n")
    print("\n".join(map(str, [folder / "record.json", folder / "report.html", *figures])))
    return 0 if record.status == "done" else 1
