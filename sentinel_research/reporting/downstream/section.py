"""The parts of a report about fine-tuning on tasks, each with its numbers or with why not."""

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.differences import explain_differences
from sentinel_research.reporting.downstream import tables
from sentinel_research.reporting.downstream.results import TaskScores, downstream_results

_SCORES_NOTE = (
    "Mean, standard deviation and Student's t interval are over seeds of the fine-tuning, and of "
    "the model's own training where every seed has a checkpoint of its own. Majority class: the "
    "answer that most training documents have, given to every question. Above and below mean that "
    "it lies outside of the interval over seeds and of the 95% interval over documents."
)
_AVERAGE_NOTE = "Averages over the group's tasks, each of which every model was fine-tuned for."
_DOCUMENTS_NOTE = (
    "Training documents in the prompts of the evaluation, the same for every model. The held-out "
    "ones choose weights and learning rate. Documents that are evaluated too were left out."
)
_TRAINING_NOTE = "Losses in nats per token of the answers, prompts left out."


def compare_downstream(record: RunRecord) -> tuple[Part, ...]:
    """Everything about the fine-tunings of a run.

    Args:
        record: Any run.

    Returns:
        The parts; none if the run fine-tunes on no task.
    """
    if record.downstream is None:
        return ()
    results = downstream_results(record)
    parts = [_scores(one, is_first=one is results[0]) for one in results]
    return (*parts, _differences(results), _documents(record), _training(record))


def _scores(found: TaskScores, *, is_first: bool) -> Part:
    notes = (*((_SCORES_NOTE,) if is_first else ()), *((_AVERAGE_NOTE,) if found.is_group else ()))
    title = f"{'Average of' if found.is_group else 'Answers to'} {found.key}"
    key = f"results-{found.task}-{found.metric.name}"
    return Part(key, title, tables.scores_table(found), None, notes, found.absent, found)


def _differences(results: tuple[TaskScores, ...]) -> Part:
    title = "Differences between fine-tuned models"
    found = [(task.key, one) for task in results for one in task.differences]
    if not found:
        absent = "Not computed: fewer than two models were fine-tuned."
        return Part("differences", title, None, None, (), absent, None)
    largest = max(len(task.differences) for task in results)
    note = f"Task by task. {explain_differences(largest)}"
    reasons = dict.fromkeys(
        f"{task}, {one.first} and {one.second}: {one.reason}." for task, one in found if one.reason
    )
    table = tables.differences_table(results)
    return Part("differences", title, table, None, (note,), " ".join(reasons), tuple(found))


def _documents(record: RunRecord) -> Part:
    numbers = (record.downstream or {})["units"]
    table = tables.documents_table(record)
    return Part("documents", "Documents", table, None, (_DOCUMENTS_NOTE,), "", numbers)


def _training(record: RunRecord) -> Part:
    numbers = {
        cell.id: (cell.train or {}).get("held_out_losses")
        for cell in record.cells
        if cell.fine_tuned_on is not None
    }
    table = tables.training_table(record)
    return Part("fine-tuning", "Fine-tuning", table, None, (_TRAINING_NOTE,), "", numbers)
