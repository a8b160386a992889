"""The parts of a report about recovery, each with its numbers or with why there are none.

In `report.json` under `recovery`: `results-TASK`, `claim-TASK`, `against-full-TASK`,
`against-random-TASK`, `losses`, `masks`, `samples`, `text`, `costs`, `not-recovered`.
"""

from typing import Any

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.differences import explain_differences
from sentinel_research.reporting.estimates import list_tasks
from sentinel_research.reporting.numbers import quantity, too_many
from sentinel_research.reporting.recovery import tables
from sentinel_research.reporting.recovery.claim import check_claim, claim_in_words
from sentinel_research.reporting.recovery.comparisons import (
    Compared,
    against_full,
    against_random,
    without_full,
)
from sentinel_research.reporting.recovery.costs import costs_table, list_costs
from sentinel_research.reporting.recovery.figures import draw_recoveries
from sentinel_research.reporting.recovery.histories import draw_losses, draw_masks
from sentinel_research.reporting.recovery.results import (
    TaskRecoveries,
    place_of,
    recovered_cells,
    task_recoveries,
)
from sentinel_research.reporting.recovery.samples import (
    Sample,
    first_seed,
    list_samples,
    samples_table,
)
from sentinel_research.reporting.text_steps import NOTE, draw_text_quality

_REGAINED_NOTE = (
    "Regained: the mean gain over the mean loss of quality, (before - after) / (before - "
    "reference), with perplexities by their logarithm. Of dense: the reference is the dense model "
    "as it is. Of control: the dense model trained on the same budget, the best one where several "
    "rates were tried. That is the honest one: a fraction of dense above 1 only says that training "
    "on this text helps any model."
)
_INTERVAL_NOTE = (
    "Intervals are at 95% over seeds of training (for random masks of mask and training together), "
    "paired by seed, by Fieller's method for fractions and Student's t otherwise; they hold for "
    "these documents. The error over documents is not in them: it only decides whether anything "
    "was lost, cautiously, as if the models had read different documents."
)
_FIGURE_NOTE = (
    "In the figure bars are intervals after recovery, and bars cut by the frame go on; recoveries "
    "of one fraction are set slightly apart; dotted: the dense model after that training."
)
_LOG_NOTE = (
    "Before and after are in {metric}: exp of the mean over seeds of its logarithm, not a median."
)
_CALIBRATION_NOTE = (
    "Values of a seed are means over the calibration texts, whose choice the intervals leave out."
)
_CLAIM_NOTE = "Every interval is its own: none is corrected for their number."
_COSTS_NOTE = (
    "Tokens are those predicted; seconds are the median of wall times, with validation and "
    "checkpoints, of the process that ended a training. Trained parameters are entries that could "
    "move in any phase."
)
_HISTORY_NOTE = (
    "A line per cell: training losses (means since the entry before; with the terms that a method "
    "adds) and, dashed, plain validation losses. Phases follow one another."
)


def compare_recoveries(record: RunRecord) -> tuple[Part, ...]:
    """Everything about the recoveries of a run.

    Args:
        record: Any run.

    Returns:
        The parts; none if the run recovers nothing.
    """
    cells = recovered_cells(record)
    if not cells:
        return ()
    recoveries = list(dict.fromkeys(place_of(cell)[2] for cell in cells))
    parts: list[Part] = []
    for task in list_tasks(record):
        found = task_recoveries(record, task)
        if found is None:
            title = f"Recovery on {task}"
            absent = "Not computed: no model was measured on it."
            parts.append(Part(f"results-{task}", title, None, None, (), absent, None))
        else:
            parts += [
                _results(record, found, recoveries),
                _claim(found),
                _against_full(found),
                _against_random(found),
            ]
    parts += [_losses(record, recoveries), *_masks(record, recoveries), *_samples(record)]
    return (*parts, _costs(record), *_failures(record))


def _results(record: RunRecord, found: TaskRecoveries, recoveries: list[str]) -> Part:
    notes = [_REGAINED_NOTE, _INTERVAL_NOTE]
    if found.scale.is_log:
        notes.append(_LOG_NOTE.format(metric=found.scale.metric.label))
    if len(((record.recipe.get("prune") or {}).get("calibration_seeds")) or ()) > 1:
        notes.append(_CALIBRATION_NOTE)
    absent = []
    for one in found.results:
        short = one.num_asked - len(one.repetitions)
        if short:
            absent.append(f"{one.name}: {quantity(short, 'seed')} not measured.")
        absent += [
            f"{one.name}, of the {regained.reference}: {regained.reason}."
            for regained in one.regained
            # a seed that is missing has been said
            if regained.reason and one.repetitions
        ]
    scale = found.scale
    figure = draw_recoveries(found, recoveries, record.synthetic_data)
    notes += [_FIGURE_NOTE] if figure is not None else []
    table = tables.results_table(found)
    numbers = {
        "metric": scale.metric.label,
        "unit": scale.unit,
        "is_log": scale.is_log,
        "dense": found.dense,
        "rows": found.results,
    }
    key, title = f"results-{scale.task}", f"Recovery on {scale.task}"
    return Part(key, title, table, figure, tuple(notes), " ".join(absent), numbers)


def _claim(found: TaskRecoveries) -> Part:
    key = f"claim-{found.scale.task}"
    title = f"Does fine-tuning regain nearly all quality? ({found.scale.task})"
    claim = check_claim(found)
    if claim is None:
        return Part(key, title, None, None, (), "Not computed: nothing was pruned.", None)
    notes = (*claim_in_words(claim), _CLAIM_NOTE)
    return Part(key, title, tables.claim_table(claim), None, notes, "", claim)


def _against_full(found: TaskRecoveries) -> Part:
    key = f"against-full-{found.scale.task}"
    title = f"Methods against plain fine-tuning on the same budget ({found.scale.task})"
    rows = against_full(found)
    alone = without_full(found)
    absent = (
        f"No plain `full` on the same budget stands beside {', '.join(alone)}." if alone else ""
    )
    if not rows:
        absent = absent or "Not computed: the run has no method beside plain fine-tuning."
        return Part(key, title, None, None, (), absent, None)
    return _compared(key, title, rows, found, "against", absent)


def _against_random(found: TaskRecoveries) -> Part:
    key = f"against-random-{found.scale.task}"
    title = f"Criteria against random masks after recovery ({found.scale.task})"
    rows = against_random(found)
    if not rows:
        absent = "Not computed: no criterion was recovered beside random masks."
        return Part(key, title, None, None, (), absent, None)
    return _compared(key, title, rows, found, "masks", "")


def _compared(
    key: str,
    title: str,
    rows: tuple[Compared, ...],
    found: TaskRecoveries,
    other: str,
    absent: str,
) -> Part:
    tested = sum(one.difference.test is not None for one in rows)
    note = explain_differences(tested, "comparison")
    reasons: dict[str, list[str]] = {}
    for one in rows:
        if one.difference.reason:
            reasons.setdefault(one.difference.reason, []).append(one.difference.first)
    sentences = [absent, *(f"{', '.join(names)}: {why}." for why, names in reasons.items())]
    table = tables.compared_table(rows, found.scale, other)
    return Part(key, title, table, None, (note,), " ".join(filter(None, sentences)), rows)


def _losses(record: RunRecord, recoveries: list[str]) -> Part:
    key, title = "losses", "Losses during recovery"
    why = too_many(len(recovered_cells(record)), "cell")
    if why:
        absent = f"Not drawn: {why}. Their losses are in record.json."
        return Part(key, title, None, None, (), absent, None)
    figure = draw_losses(record, recoveries, record.synthetic_data)
    if figure is None:
        return Part(key, title, None, None, (), "Not drawn: no loss was recorded.", None)
    return Part(key, title, None, figure, (_HISTORY_NOTE,), "", None)


def _masks(record: RunRecord, recoveries: list[str]) -> tuple[Part, ...]:
    if too_many(len(recovered_cells(record)), "cell"):
        return ()
    figure = draw_masks(record, recoveries, record.synthetic_data)
    if figure is None:
        return ()
    note = "A line per cell of a method that chooses masks while it trains."
    return (Part("masks", "Fraction pruned during recovery", None, figure, (note,), "", None),)


def _samples(record: RunRecord) -> tuple[Part, ...]:
    samples = list_samples(record)
    if not samples:
        return ()
    table = samples_table(record, samples)
    note = (
        f"{len(table.rows):,} of {len(samples):,} texts, of the first seed; all are in report.json."
    )
    return (
        Part("samples", "Texts written during recovery", table, None, (note,), "", samples),
        *_variety(record, samples),
    )


def _variety(record: RunRecord, samples: tuple[Sample, ...]) -> tuple[Part, ...]:
    written: dict[str, list[dict[str, Any]]] = {}
    shown = first_seed(record, samples)
    phased = {one.recovery for one in shown if len({o.phase for o in shown}) > 1}
    for one in shown:
        # steps begin again in every phase
        name = f"{one.recovery}, {one.phase}" if one.recovery in phased else one.recovery
        written.setdefault(name, []).append(one._asdict())
    figure = draw_text_quality(written, "recovery_text", record.synthetic_data)
    if figure is None:
        return ()
    title = "Variety of text during recovery"
    return (Part("text", title, None, figure, (NOTE,), "", None),)


def _costs(record: RunRecord) -> Part:
    key, title = "costs", "Cost of recovery"
    costs = list_costs(record)
    if not costs:
        absent = "Not computed: no training came to its end."
        return Part(key, title, None, None, (), absent, None)
    return Part(key, title, costs_table(costs), None, (_COSTS_NOTE,), "", costs)


def _failures(record: RunRecord) -> tuple[Part, ...]:
    table = tables.failures_table(record)
    if not table.rows:
        return ()
    note = "These are in no mean and no interval; a seed counts where it was measured whole."
    numbers = [
        dict(zip(table.headers, (cell.text for cell in row), strict=True)) for row in table.rows
    ]
    key, title = "not-recovered", "Recoveries without a result"
    return (Part(key, title, table, None, (note,), "", numbers),)
