"""`sentinel benchmark`: strategies and levels of pruning, under the published flags."""

from typing import Annotated

from cyclopts import Parameter

from sentinel_research.cli.finetune import carry_out
from sentinel_research.cli.flags import BY_DEFAULT, PUBLISHED, TOLD, Shown
from sentinel_research.finetune.benchmark import PruningBenchmarkRequest


def benchmark(
    *,
    request: Annotated[PruningBenchmarkRequest, PUBLISHED],
    dry_run: Annotated[bool, Parameter(name=["--dry_run", "--dry-run"], negative="")] = False,
    told: Annotated[Shown, TOLD] = BY_DEFAULT,
) -> int:
    """Prune by several strategies at several levels, train each back, and measure all of it.

    As `sentinel finetune`, with written text beside perplexity: diversity, repetition, first token
    and tokens per second of every model, before and after. The dense model comes first. The same
    command resumes.

    Parameters
    ----------
    dry_run
        Show what would be pruned and trained; train nothing.
    """
    return carry_out(request, dry_run=dry_run, told=told)
