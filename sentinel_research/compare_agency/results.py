"""Put together what a comparison measured: points, contrasts, checks, and what is missing."""

import math
from collections.abc import Iterator

from sentinel_research.compare_agency.contrasts import OnDocuments, contrasts_of, document_tester
from sentinel_research.compare_agency.points import (
    Source,
    arm_of,
    folder_of,
    points_of,
    values_of,
)
from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.compare_agency.schema import (
    DEFINITIONS,
    RESULT_VERSION,
    AgencyResults,
    NamedCheck,
)
from sentinel_research.compare_agency.times import Times
from sentinel_research.record import RunRecord

Records = dict[Source, RunRecord]
_SAME_BUT_FOR_SUMS = 1e-6


def gather(
    request: AgencyComparisonRequest, records: Records, times: dict[int, Times]
) -> AgencyResults:
    """Everything about one comparison.

    Args:
        request: The flags.
        records: Of every model, iteration and temperature.
        times: By iteration.
    """
    values = values_of(records, times)
    missing = dict(_missing(records))
    first = next(iter(records.values()))
    checks = (*_recorded_checks(records), *_law_checks(request, records))
    sound = not missing and all(check.passed for check in checks)
    return AgencyResults(
        schema_version=RESULT_VERSION,
        status="done" if sound else "failed",
        synthetic_data=any(record.synthetic_data for record in records.values()),
        config=request.model_dump(mode="json"),
        definitions=DEFINITIONS,
        points=points_of(values, request.iterations),
        contrasts=contrasts_of(values, request.iterations, _on_documents(request, records)),
        checks=checks,
        not_measured=missing,
        records={_name(source): folder_of(source) for source in records},
        provenance={
            "git": first.environment["git"],
            "packages": first.environment["packages"],
            "device": first.environment["device"],
            "datasets": first.datasets,
            "num_threads": next(iter(times.values())).num_threads,
        },
    )


def _name(source: Source) -> str:
    return f"{source.kind}, iteration {source.iteration}, temperature {source.temperature:g}"


def _missing(records: Records) -> Iterator[tuple[str, str]]:
    for source, record in records.items():
        for cell in record.cells:
            if cell.status != "done":
                yield f"{_name(source)}: {cell.id}", cell.error or f"it is {cell.status}"


def _recorded_checks(records: Records) -> Iterator[NamedCheck]:
    """Those of the runs that did not hold; the others are in the records."""
    for source, record in records.items():
        for check in record.failed_checks():
            yield NamedCheck(
                name=f"{_name(source)}: {check.name}", passed=False, detail=check.detail
            )


def _law_checks(request: AgencyComparisonRequest, records: Records) -> Iterator[NamedCheck]:
    """What follows from gates at rest; a model with agency of its own obeys none of it."""
    if request.is_trained or request.agency_model is not None:
        return
    first = request.temperatures[0]
    for iteration in range(request.iterations):
        plain, agency = (records[Source(kind, iteration, first)] for kind in ("plain", "agency"))
        perplexities = [_dense_perplexity(record) for record in (plain, agency)]
        yield NamedCheck(
            name=f"iteration {iteration}: gates at rest change no perplexity",
            # batches may be cut otherwise, which changes the order of sums
            passed=None not in perplexities
            and math.isclose(*perplexities, rel_tol=_SAME_BUT_FOR_SUMS),  # type: ignore[arg-type]
            detail=f"{perplexities[0]!r} without, {perplexities[1]!r} with",
        )
        kept = [_kept(record, arm) for record, arm in ((plain, "masked"), (agency, "agency"))]
        yield NamedCheck(
            name=f"iteration {iteration}: the same heads are masked and withdrawn",
            passed=kept[0] == kept[1],
            detail=", ".join(
                f"{level:g} percent: {'the same' if heads == kept[1].get(level) else 'others'}"
                for level, heads in kept[0].items()
            ),
        )


def _dense_perplexity(record: RunRecord) -> float | None:
    evaluation = record.cell("dense").evaluation
    if evaluation is None:
        return None
    return evaluation.measurement(record.recipe["evaluate"]["tasks"][0], "token_perplexity").value


def _kept(record: RunRecord, arm: str) -> dict[float, object]:
    return {
        100 * cell.prune_spec["fraction"]: cell.prune["plan"]["kept"]
        for cell in record.cells
        if cell.prune_spec is not None and cell.prune and cell.prune_spec["variant"] == arm
    }


def _on_documents(request: AgencyComparisonRequest, records: Records) -> OnDocuments | None:
    if request.is_trained:
        return None
    first = request.temperatures[0]
    sources = [Source(kind, 0, first) for kind in ("plain", "agency")]
    cells = {
        arm_of(source.kind, cell): cell.id for source in sources for cell in records[source].cells
    }
    plain, agency = (str(request.folder / folder_of(source)) for source in sources)
    return document_tester(plain, agency, cells)
