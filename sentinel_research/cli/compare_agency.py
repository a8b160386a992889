"""`sentinel compare-agency`: agency under pruning, under the published flags."""

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
from sentinel_research.compare_agency.request import AgencyComparisonRequest


def compare_agency(
    *,
    request: Annotated[AgencyComparisonRequest | None, PUBLISHED] = None,
    dry_run: Annotated[bool, Parameter(name=["--dry_run", "--dry-run"], negative="")] = False,
    told: Annotated[Told, TOLD] = BY_DEFAULT,
) -> int:
    """Prune a model with agency and the same without, level by level, and compare them.

    Five arms: dense, masked, agency with the same heads withdrawn, removed, and random masks.
    Perplexity, diversity and repetition, tokens per second, first token and memory go with
    intervals and verdicts to OUTPUT_DIR/results.json, .csv, .md and .html, and figures. The same
    command resumes.

    Parameters
    ----------
    dry_run
        Show models, levels and what would be measured; measure nothing.
    """
    from sentinel_research.process import prepare_process

    prepare_process()
    check_told(told)
    from sentinel_research.compare_agency.recipes import check_request
    from sentinel_research.compare_agency.run import planned, run_comparison
    from sentinel_research.compare_agency.write import contrast_lines

    request = request or AgencyComparisonRequest()
    if dry_run:
        check_request(request)
        print("\n".join(planned(request)))
        return 0
    with shown_progress(told) as progress:
        outcome = run_comparison(request, progress=progress)
    results = outcome.results
    print("\n".join(contrast_lines(results)))
    for name, why in results.not_measured.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    for check in results.checks:
        if not check.passed:
            print(f"check failed: {check.name}: {check.detail}", file=sys.stderr)
    print("\n".join(map(str, outcome.files)))
    return 0 if results.status == "done" else 1
