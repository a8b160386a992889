"""`sentinel mamba-vs-bk`: the benchmark of Mamba against ResNet-BK under its published flags."""

import sys
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
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest


def mamba_vs_bk(
    *,
    request: Annotated[BenchmarkRequest, PUBLISHED],
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Train and measure Mamba and ResNet-BK at equal size, and write one JSON file for each.

    The files are OUTPUT_DIR/MODEL_DATASET_seqN_bitsB.json, with --multi_dataset also
    OUTPUT_DIR/MODEL_multi_dataset.json, with --downstream OUTPUT_DIR/MODEL_downstream.json. The
    same command resumes an interrupted benchmark.

    Parameters
    ----------
    dry_run
        Show sizes, steps and models for every dataset; train nothing.
    """
    from sentinel_research.process import prepare_process

    prepare_process()
    check_told(told)
    from sentinel_research.mamba_vs_bk.recipes import check_request, dataset_recipe
    from sentinel_research.mamba_vs_bk.run import run_benchmark
    from sentinel_research.reporting import summary

    if dry_run:
        from sentinel_research.dry_run import dry_run as describe

        check_request(request)
        for dataset in request.dataset_names:
            print(f"{dataset}\n{describe(dataset_recipe(request, dataset)).text}")
        if request.downstream:
            print(f"then every model is fine-tuned on: {', '.join(request.task_names)}")
        return 0
    with shown_progress(told) as progress:
        outcome = run_benchmark(request, progress=progress)
    for record in outcome.records.values():
        print(f"{summary(record)}\n")
    for failure in outcome.failures:
        where = failure.dataset if failure.cell is None else f"{failure.dataset}, {failure.cell}"
        print(f"failed: {where}: {failure.error}", file=sys.stderr)
    print("\n".join(map(str, outcome.files)))
    return 1 if outcome.failures else 0
