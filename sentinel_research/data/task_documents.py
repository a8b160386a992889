"""The documents of an lm-eval task as texts: to calibrate or to train on, and to compare.

The prompt is the one that lm-eval evaluates without examples in it, made by the task's own
`fewshot_context` and `construct_requests`, so that its description, delimiters, prefix and choices
are those of the evaluation. Only text counts: images and sounds of a document are left out.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import datasets

from sentinel_research.data.provenance import has_provenance, hash_texts, provenance_of
from sentinel_research.data.tasks import find_tasks
from sentinel_research.errors import DataError, SentinelError, UsageError

WITH_TRAINING_DOCUMENTS = ("arc_easy", "boolq", "gsm8k", "hellaswag", "sst2", "winogrande")
"""Some of lm-eval's tasks that have a training split, for messages."""

# what lm-eval and datasets raise for a task whose dataset cannot be had
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)


class TaskText(NamedTuple):
    """One document as a model reads it."""

    context: str
    """The prompt; empty for a text that is scored whole."""
    target: str
    """The right answer with the delimiter before it, or the whole text."""
    is_whole: bool
    """True for tasks that score a whole text (`loglikelihood_rolling`)."""


def load_tasks(names: Sequence[str]) -> dict[str, Any]:
    """Load tasks with their data; groups and tags become the tasks they stand for.

    Args:
        names: Task, group or tag names.

    Returns:
        `lm_eval.api.task.Task` objects by name.

    Raises:
        UsageError: for an unknown name, or a task whose code cannot be imported.
        DataError: if a dataset cannot be had.
    """
    return dict(load_groups(names)["tasks"])


def load_groups(names: Sequence[str]) -> dict[str, Any]:
    """Load tasks with their data, and what lm-eval knows of their groups.

    Args:
        names: See `load_tasks`.

    Returns:
        lm-eval's `TaskDict`: `tasks` and `groups` by name.

    Raises:
        UsageError, DataError: see `load_tasks`.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = find_tasks(names)
    try:
        return dict(manager.load(list(names)))
    except SentinelError:
        raise
    except ImportError as error:
        raise UsageError(
            f"the code of {', '.join(names)} cannot be imported: {error}",
            "install what it needs, or choose another task",
        ) from error
    except KeyError as error:
        raise _lacking(names, error) from error
    except _LOAD_ERRORS as error:
        raise DataError(
            f"{', '.join(names)} cannot be loaded: {type(error).__name__}: {error}",
            "lm-eval's own tasks look for ORG/NAME in the current directory, then on the hub: "
            "start in the mirror folder, or fetch the dataset.",
        ) from error


def training_documents(name: str) -> tuple[Any, Sequence[Any]]:
    """A task and its training documents.

    Args:
        name: One task, not a group.

    Returns:
        The task object, and the documents of its training split as lm-eval prepares them.

    Raises:
        UsageError: for an unknown name, a group, or a task without a training split.
        DataError: if the data cannot be had.
    """
    tasks = load_tasks([name])
    if list(tasks) != [name]:
        raise UsageError(
            f"'{name}' stands for {len(tasks)} tasks, and calibration reads one",
            f"name one of them: {', '.join(sorted(tasks))}",
        )
    task = tasks[name]
    return task, training_split(
        task, "to calibrate on", "or name a corpus with `calibration.corpus`"
    )


def training_split(task: Any, purpose: str, otherwise: str) -> Sequence[Any]:
    """The training documents of a task that was loaded.

    Args:
        task: The lm-eval task.
        purpose: What they are for, for messages.
        otherwise: What else a user can do.

    Raises:
        UsageError: for a task without a training split.
        DataError: if the data cannot be had.
    """
    name = task.config.task
    if not task.has_training_docs():
        raise UsageError(
            f"the task '{name}' has no training split {purpose}",
            f"tasks that have one: {', '.join(WITH_TRAINING_DOCUMENTS)} and others; {otherwise}",
        )
    try:
        documents: Sequence[Any] = task.training_docs()
    except KeyError as error:
        raise _lacking([name], error) from error
    return documents


def text_of(task: Any, document: Any) -> TaskText:
    """Prompt and right answer of a document.

    Args:
        task: The lm-eval task.
        document: One of its documents.

    Returns:
        For multiple choice the right choice (the first, if several are right); for generation the
        target of lm-eval's examples, the first of several; for other tasks what is scored.

    Raises:
        DataError: if the document says no right answer, as hidden test labels do.
    """
    if task.OUTPUT_TYPE == "generate_until":
        context = _prompt(task, document)
        return TaskText(context, _generated_target(task, document), is_whole=False)
    requests = _requests(task, document)
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return TaskText("", requests[0].args[0], is_whole=True)
    right = right_choice(task, document) if task.OUTPUT_TYPE == "multiple_choice" else 0
    context, target = requests[right].args[:2]
    return TaskText(context, target, is_whole=False)


def fingerprints(task: Any, document: Any) -> frozenset[str]:
    """What identifies a document, whichever task or split it is in: two documents are the same if
    they share a fingerprint.

    One is of the prompt with all its choices, or of the whole text; the other of the document's own
    fields, which finds it under another prompt too. White space is not compared.
    """
    parts = [part for request in _requests(task, document) for part in request.args]
    asked = [part for part in parts if isinstance(part, str)]
    return frozenset({text_fingerprint(*asked), content_fingerprint(document)})


def content_fingerprint(document: Any) -> str:
    """The fingerprint of a document's own fields, whatever is asked about them."""
    return text_fingerprint(*sorted(_values(document)))


def text_fingerprint(*texts: str) -> str:
    """The fingerprint of a document that consists of these texts; white space is not compared."""
    return hash_texts(" ".join(text.split()) for text in texts)


def evaluated_provenance(task: Any) -> dict[str, Any]:
    """Where a task's evaluated documents came from; see `training_provenance`."""
    split = task.config.test_split or task.config.validation_split
    # tasks that are written as classes name no split
    return _provenance(task, split, task.dataset[split] if split else task.eval_docs)


def training_provenance(task: Any) -> dict[str, Any]:
    """Where a task's training documents came from: known for our loader, else the hub's names."""
    split = task.config.training_split
    return _provenance(task, split, task.dataset[split] if split else task.training_docs())


def _provenance(task: Any, split: str | None, documents: Any) -> dict[str, Any]:
    if has_provenance(documents):
        return {"task": task.config.task, **asdict(provenance_of(documents))}
    return {
        "task": task.config.task,
        "source": "lm-eval",
        "repo_id": task.config.dataset_path,
        "config": task.config.dataset_name,
        "split": split,
        "num_documents": len(documents),
        "fingerprint": documents._fingerprint,
    }


def _prompt(task: Any, document: Any) -> Any:
    """The context without examples; a list of contexts where the choices are in the context."""
    prefix = task.doc_to_prefix(document)
    return task.fewshot_context(document, num_fewshot=0, gen_prefix=prefix)


def _requests(task: Any, document: Any) -> list[Any]:
    found = task.construct_requests(document, _prompt(task, document))
    return found if isinstance(found, list) else [found]


def right_choice(task: Any, document: Any) -> int:
    """Index of the right choice, by the rule of lm-eval's scoring.

    Args:
        task: Of multiple choice.
        document: One of its documents.

    Raises:
        DataError: if the document says none.
    """
    choices = task.doc_to_choice(document)
    right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(right, list):
        right = right[0] if right else None
    if isinstance(right, str):
        right = choices.index(right) if right in choices else None
    # a hidden label is -1, which python would take for the last choice
    if right is None or not 0 <= right < len(choices):
        raise _no_answer(task, document)
    return int(right)


def _generated_target(task: Any, document: Any) -> str:
    from lm_eval.api.utils import maybe_delimit

    target = task.doc_to_target(document)
    if isinstance(target, list):
        target = target[0] if target else ""
    if isinstance(target, int) and task.config.doc_to_choice is not None:
        target = task.doc_to_choice(document)[right_choice(task, document)]
    answer = str(target)
    if not answer.strip():
        raise _no_answer(task, document)
    prefix = task.doc_to_prefix(document)
    if prefix:
        return maybe_delimit(prefix, answer)[len(prefix) :]
    return f"{task.config.target_delimiter}{answer}"


def _lacking(names: Sequence[str], error: KeyError) -> DataError:
    return DataError(
        f"the data of {', '.join(names)} lacks {error}, a split or column that the task names",
        "Fetch it, or choose another task.",
    )


def _no_answer(task: Any, document: Any) -> DataError:
    return DataError(
        f"a document of '{task.config.task}' has no right answer: {str(document)[:200]}",
        "Its labels are hidden or damaged: take another task.",
    )


def _values(document: Any) -> Iterator[str]:
    """All values in a document as strings, at any depth."""
    if isinstance(document, dict):
        for name, value in document.items():
            # the number of the row in its split, by convention of the hub, is no content
            if name != "idx":
                yield from _values(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from _values(value)
    else:
        yield str(document)
