"""What a run read: provenance of every dataset, and that nothing was fitted on evaluation text."""

from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from sentinel_research.record import Check, EvaluationReport, RunRecord
from sentinel_research.specs import CalibrationSpec, Recipe

_FITTED_SPLIT = "train"


class _Fitted(NamedTuple):
    """Documents that something was fitted on."""

    role: str
    """`training` or `calibration`."""
    name: str
    """Corpus or task."""
    provenance: dict[str, Any]
    """Where its split came from."""
    documents: Collection[frozenset[str]]
    """The fingerprints of every document that was read, or could have been."""


def record_inputs(recipe: Recipe, record: RunRecord, evaluation: EvaluationReport) -> None:
    """Fill in the run's datasets, and check that fitting and evaluation share no document.

    Documents are compared by content, see `task_documents.fingerprints`: the train split of a
    corpus, or the drawn training documents of a task, with the whole evaluation split of every
    evaluated task, also where `evaluate.limit` asks for less.

    Args:
        recipe: The recipe.
        record: Its record; `datasets` and `checks` are set here.
        evaluation: Of the dense model, for the tasks' own data.
    """
    record.datasets, record.checks = list(evaluation.datasets), []
    fitted = list(_fitted(recipe))
    for one in fitted:
        record.datasets.append({**one.provenance, "task": one.role})
    for task, evaluated in _evaluated(recipe) if fitted else ():
        everything = frozenset[str]().union(*evaluated)
        for one in fitted:
            num_shared = sum(not everything.isdisjoint(document) for document in one.documents)
            record.checks.append(
                Check(
                    name=f"{one.role} shares no document with {task}",
                    passed=num_shared == 0,
                    detail=f"{num_shared} of {len(one.documents)} documents of {one.name} "
                    f"({one.provenance['split']}) are among the {len(evaluated)} that {task} "
                    "evaluates",
                )
            )


def _fitted(recipe: Recipe) -> Iterator[_Fitted]:
    if recipe.train is not None:
        yield _fitted_corpus("training", recipe.train.corpus)
    if recipe.prune is None or recipe.prune.calibration is None:
        return
    if recipe.prune.calibration.corpus is not None:
        yield _fitted_corpus("calibration", recipe.prune.calibration.corpus)
    else:
        yield _fitted_task(recipe.prune.calibrations)


def _fitted_corpus(role: str, corpus: str) -> _Fitted:
    from sentinel_research.data.corpora import load_corpus
    from sentinel_research.data.provenance import provenance_of
    from sentinel_research.data.task_documents import text_fingerprint

    documents = load_corpus(corpus, _FITTED_SPLIT)
    return _Fitted(
        role,
        corpus,
        asdict(provenance_of(documents)),
        [frozenset({text_fingerprint(text)}) for text in documents["text"]],
    )


def _fitted_task(calibrations: list[CalibrationSpec]) -> _Fitted:
    """Of a task only the documents that any of the calibration seeds drew."""
    from sentinel_research.data.calibration import drawn_documents
    from sentinel_research.data.task_documents import fingerprints, training_provenance

    draws = [drawn_documents(spec) for spec in calibrations]
    task = draws[0].task
    found = {fingerprints(task, document) for draw in draws for document in draw.documents}
    return _Fitted("calibration", str(calibrations[0].task), training_provenance(task), found)


def _evaluated(recipe: Recipe) -> Iterator[tuple[str, list[frozenset[str]]]]:
    """Every evaluated task with the fingerprints of its documents."""
    from sentinel_research.data.task_documents import fingerprints, load_tasks

    for name, task in load_tasks(recipe.evaluate.tasks).items():
        yield name, [fingerprints(task, document) for document in task.eval_docs]
