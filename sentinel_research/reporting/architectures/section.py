"""The parts of a report that compare architectures, each with its numbers or with why not."""

from sentinel_research.record import RunRecord
from sentinel_research.reporting.architectures import long_context, tables
from sentinel_research.reporting.architectures.figures import (
    draw_costs,
    draw_learning,
    draw_results,
)
from sentinel_research.reporting.architectures.results import (
    TaskResults,
    control_of,
    task_results,
)
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.differences import explain_differences
from sentinel_research.reporting.estimates import list_tasks
from sentinel_research.reporting.numbers import quantity

_TRAINING_NOTE = (
    "Validation loss in nats per token, of the weights that were kept. Tokens are those predicted; "
    "tokens per second are those read, with validation and checkpoints in the time, by the process "
    "that ended the training. Peak memory is of the whole process. A loss spike is a logged loss "
    "above 2 times the median of the up to 5 before it; gradient norms are before clipping."
)
_MODELS_NOTE = (
    "Counted on the built model. Embeddings are tables of tokens and positions and the output "
    "head; frozen parameters are those of a model that runs beside and is not trained. FLOPs are "
    "those of matrix products, convolutions and registered operators, forward and backward, "
    "attention in full."
)


def compare_architectures(record: RunRecord) -> tuple[Part, ...]:
    """Everything about the compared architectures of a run.

    Args:
        record: Any run.

    Returns:
        The parts; none if the run compares no architectures.
    """
    if record.comparison is None:
        return ()
    return (
        *compare_on_tasks(record),
        *_long_context(record),
        _models(record),
        _training(record),
    )


def compare_on_tasks(record: RunRecord) -> tuple[Part, ...]:
    """What the compared architectures of a run scored, task by task, and how they differ.

    Args:
        record: A run that compares architectures.
    """
    parts = []
    for task in list_tasks(record):
        found = task_results(record, task)
        if found is None:
            title = f"Results on {task}"
            absent = "Not computed: no model was measured on it."
            parts.append(Part(f"results-{task}", title, None, None, (), absent, None))
        else:
            parts += [_results(record, found), _differences(record, found)]
    return tuple(parts)


def _results(record: RunRecord, found: TaskResults) -> Part:
    table = tables.results_table(record, found)
    notes = tables.explain_results(record, found)
    short = [one for one in found.results if len(one.values) < one.num_asked]
    absent = " ".join(
        f"{one.name}: {quantity(one.num_asked - len(one.values), 'seed')} not measured."
        for one in short
    )
    title = f"Results on {found.task}"
    figure = draw_results(found, record.synthetic_data)
    return Part(f"results-{found.task}", title, table, figure, notes, absent, found.results)


def _differences(record: RunRecord, found: TaskResults) -> Part:
    key, title = f"differences-{found.task}", f"Differences on {found.task}"
    if not found.differences:
        absent = "Not computed: fewer than two architectures."
        return Part(key, title, None, None, (), absent, None)
    note = explain_differences(len(found.differences))
    control = control_of(record)
    against = () if control is None else (f"Every model is compared with the control, {control}.",)
    reasons = {f"{one.first} and {one.second}": one.reason for one in found.differences}
    absent = " ".join(f"{pair}: {reason}." for pair, reason in reasons.items() if reason)
    table = tables.differences_table(found)
    return Part(key, title, table, None, (*against, note), absent, found.differences)


def _long_context(record: RunRecord) -> tuple[Part, ...]:
    found = long_context.long_context_results(record)
    if found is None:
        return ()
    positions, costs = long_context.positions_table(found), long_context.costs_table(found)
    covered, timed = long_context.explain_long_context(record)
    absent = long_context.explain_absent(found)
    figure = long_context.draw_positions(found, record.synthetic_data)
    return (
        Part("long-context", "Long context", positions, figure, (covered,), absent, found),
        Part(
            "long-context-cost",
            "Cost by length",
            costs,
            draw_costs(found.costs, record.synthetic_data),
            (timed,),
            "",
            found.costs,
        ),
    )


def _models(record: RunRecord) -> Part:
    numbers = (record.comparison or {})["models"]
    table = tables.models_table(record)
    return Part("models", "Sizes", table, None, (_MODELS_NOTE,), "", numbers)


def _training(record: RunRecord) -> Part:
    table = tables.training_table(record)
    rates = (record.comparison or {})["learning_rates"]
    figure = draw_learning(record)
    return Part("training", "Training", table, figure, (_TRAINING_NOTE,), "", rates)
