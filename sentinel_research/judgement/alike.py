"""Whether two evaluations asked the same: the conditions under which numbers can be compared."""

from sentinel_research.judgement.refusal import NotComparableError
from sentinel_research.judgement.schema import Refusal
from sentinel_research.judgement.subjects import Pair, Subject


def check_alike(pair: Pair, task: str) -> None:
    """Hold few-shot examples, limit, window and task of two evaluations against each other.

    Args:
        pair: The two.
        task: What both were measured on.

    Raises:
        NotComparableError: where they differ: names all that do, with both values.
    """
    asked: dict[Refusal, list[tuple[object, str]]] = {
        "few-shot": [_fewshot(one, task) for one in pair],
        "limit": [_documents(one, task) for one in pair],
        "window": [
            (one.evaluation.max_length, f"{one.evaluation.max_length:,} tokens") for one in pair
        ],
        "task": [(one.evaluation.task_hashes[task],) * 2 for one in pair],
    }
    differ = {name: sides for name, sides in asked.items() if sides[0][0] != sides[1][0]}
    # other examples or documents are another task anyway
    if {"few-shot", "limit"} & differ.keys():
        differ.pop("task", None)
    if differ:
        raise NotComparableError(
            next(iter(differ)),
            "; ".join(
                f"{_asked(pair, task) if name == 'task' else name} differs: {one} against {other}"
                for name, ((_, one), (_, other)) in differ.items()
            ),
        )


def _asked(pair: Pair, task: str) -> str:
    """What of a task differs, as far as both records keep hashes of its parts."""
    parts = []
    for name, hashes in (
        ("documents", [one.evaluation.document_hashes.get(task) for one in pair]),
        ("prompts or targets", [one.evaluation.prompt_hashes.get(task) for one in pair]),
    ):
        if None in hashes or hashes[0] != hashes[1]:
            parts.append(name)
    return f"task hash ({', '.join(parts)})"


def _fewshot(subject: Subject, task: str) -> tuple[object, str]:
    """Examples in the prompt, and in words."""
    found = subject.evaluation.lm_eval.get("n-shot", {}).get(task)
    return found, f"{found} example(s)"


def _documents(subject: Subject, task: str) -> tuple[object, str]:
    """Documents that were evaluated, and what limited them."""
    limit = (subject.record.recipe.get("evaluate") or {}).get("limit")
    count = subject.evaluation.num_documents.get(task)
    return count, f"{count} documents ({'no limit' if limit is None else f'limit {limit}'})"
