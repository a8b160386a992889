"""What a run read: provenance of every dataset, and that nothing was fitted on evaluation text."""

from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from sentinel_research.record import Check, EvaluationReport, RunRecord
from sentinel_research.specs import CalibrationSpec, Recipe

_LONG_CONTEXT = "long context"
_GENERATION = "generation"


class _Fitted(NamedTuple):
    """Documents that something was fitted on."""

    role: str
    """`training`, `recovery` or `calibration`."""
    name: str
    """Corpus or task."""
    provenance: dict[str, Any]
    """Where its split came from."""
    documents: Collection[frozenset[str]]
    """The fingerprints of every document that was read, or could have been."""


def define_inputs(recipe: Recipe) -> None:
    """Make a recipe's data and tasks known in this process.

    Raises:
        UsageError: for a corpus or task that does not exist, or examples that no task has.
    """
    from sentinel_research.data.defined import define_corpora
    from sentinel_research.data.mirror import use_mirror
    from sentinel_research.data.tasks import include_tasks
    from sentinel_research.evaluation import find_tasks
    from sentinel_research.evaluation.limits import check_examples

    if recipe.data is not None:
        use_mirror(recipe.data)
    define_corpora(recipe.corpora)
    include_tasks(recipe.evaluate.include_path)
    find_tasks(recipe.evaluate.tasks)
    check_examples(recipe.evaluate)


def record_inputs(recipe: Recipe, record: RunRecord, evaluation: EvaluationReport | None) -> None:
    """Fill in the run's datasets, and check that fitting and evaluation share no document.

    Documents are compared by content, see `task_documents.fingerprints`: the train split of a
    corpus, or the drawn training documents of a task, with the whole evaluation split of every
    evaluated task, also where `evaluate.limit` asks for less.

    Args:
        recipe: The recipe.
        record: Its record; `datasets` and `checks` are set here.
        evaluation: Of any model, for the tasks' own data; None if nothing was measured.
    """
    record.datasets, record.checks = list(evaluation.datasets) if evaluation else [], []
    if evaluation is not None and evaluation.long_context is not None:
        record.datasets.append({**evaluation.long_context["data"], "task": _LONG_CONTEXT})
    if evaluation is not None and evaluation.generation is not None:
        record.datasets.append({**evaluation.generation["data"], "task": _GENERATION})
    fitted = list(_fitted(recipe))
    for one in fitted:
        record.datasets.append({**one.provenance, "task": one.role})
    for task, evaluated in _evaluated(recipe) if fitted and recipe.evaluate.tasks else ():
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
    from sentinel_research.data.fitted import calibration_fingerprints, corpus_fingerprints

    if recipe.train is not None:
        for corpus in recipe.train.corpora:
            yield _Fitted("training", corpus, _origin_of(corpus), corpus_fingerprints(corpus))
    specs = recipe.recover.specs if recipe.recover is not None else []
    for corpus in dict.fromkeys(name for spec in specs for name in spec.train.corpora):
        yield _Fitted("recovery", corpus, _origin_of(corpus), corpus_fingerprints(corpus))
    draws: dict[tuple[str | None, str | None], list[CalibrationSpec]] = {}
    for draw in recipe.prune.calibrations if recipe.prune is not None else ():
        draws.setdefault((draw.corpus, draw.task), []).append(draw)
    for (text, task), found in draws.items():
        origin = _origin_of(text) if text is not None else _origin_of_task(str(task))
        documents = calibration_fingerprints(found)
        yield _Fitted("calibration", text or str(task), origin, documents)


def _origin_of_task(name: str) -> dict[str, Any]:
    from sentinel_research.data.task_documents import training_documents, training_provenance

    task, _ = training_documents(name)
    return training_provenance(task)


def _origin_of(corpus: str) -> dict[str, Any]:
    from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus
    from sentinel_research.data.provenance import provenance_of

    return asdict(provenance_of(load_corpus(corpus, FITTED_SPLIT)))


def _evaluated(recipe: Recipe) -> Iterator[tuple[str, list[frozenset[str]]]]:
    """Every evaluated task, and other text that is read, with its documents' fingerprints."""
    from sentinel_research.data.fitted import corpus_fingerprints
    from sentinel_research.data.task_documents import fingerprints, load_tasks

    for name, task in load_tasks(recipe.evaluate.tasks).items():
        yield name, [fingerprints(task, document) for document in task.eval_docs]
    parts = {
        _LONG_CONTEXT: recipe.evaluate.long_context,
        _GENERATION: recipe.evaluate.generation,
    }
    for name, part in parts.items():
        if part is not None:
            yield name, corpus_fingerprints(part.corpus, part.split)
