"""`sentinel downstream`: fine-tune models on the tasks that measure them."""

from typing import Annotated

from cyclopts import Parameter

from sentinel_research.cli.flags import (
    BY_DEFAULT,
    PUBLISHED,
    TOLD,
    Told,
    check_told,
    shown_progress,
)
from sentinel_research.downstream_command.request import DownstreamRequest


def downstream(
    *,
    request: Annotated[DownstreamRequest, PUBLISHED],
    dry_run: Annotated[bool, Parameter(name=["--dry_run", "--dry-run"], negative="")] = False,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Fine-tune finished models on tasks of lm-eval, and measure them before and after.

    Every model learns the same training documents in the prompts of the evaluation; a held-out part
    of them chooses weights and learning rate. The files are OUTPUT_DIR/MODEL_downstream.json. The
    same command resumes an interrupted run.

    Parameters
    ----------
    dry_run
        Show tasks, documents and models; fine-tune nothing.
    """
    from sentinel_research.process import prepare_process

    prepare_process()
    check_told(told)
    from sentinel_research.downstream_command.recipes import downstream_recipe
    from sentinel_research.downstream_command.run import run_downstream_request
    from sentinel_research.reporting import summary

    if dry_run:
        from sentinel_research.dry_run import dry_run as describe

        print(describe(downstream_recipe(request)).text)
        return 0
    with shown_progress(told) as progress:
        outcome = run_downstream_request(request, progress=progress)
    print(f"{summary(outcome.record)}\n")
    print("\n".join(map(str, outcome.files)))
    return 0 if outcome.record.status == "done" else 1
