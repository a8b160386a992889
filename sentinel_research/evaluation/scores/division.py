"""One evaluation in several processes: all ask everything, each computes its share.

lm-eval knows of one process only. It would give each some documents, in another order than one
process, and stop where a process gets none; and what is shared by documents of two processes would
be read twice. Here every process has all documents, prompts and, in the end, answers.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from sentinel_research import distributed
from sentinel_research.errors import SentinelError


def divided(
    costs: Sequence[float], asked: Sequence[Any], answer: Callable[[range], list[Any]]
) -> list[Any]:
    """Answer a list of questions, each in one process.

    Args:
        costs: Of each question.
        asked: The questions, alike in every process.
        answer: Answers those at some places, in JSON types.

    Returns:
        All answers, in order.

    Raises:
        SentinelError: see `exchange`.
    """
    return exchange(answer(shares(costs)[distributed.process_index()]), asked)


def shares(costs: Sequence[float]) -> list[range]:
    """Divide a list into neighbouring parts of about equal cost, one for each process.

    Args:
        costs: Of each item.

    Returns:
        The places of each part, in the order of the processes; some are empty where there are too
        few items.
    """
    num_parts, total = distributed.num_processes(), sum(costs)
    ends: list[int] = []
    so_far = 0.0
    for place, cost in enumerate(costs):
        # an item belongs to the part in which its middle lies
        while len(ends) < num_parts - 1 and so_far + cost / 2 > total * (len(ends) + 1) / num_parts:
            ends.append(place)
        so_far += cost
    ends += [len(costs)] * (num_parts - len(ends))
    return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def exchange(own: Sequence[Any], asked: Sequence[Any]) -> list[Any]:
    """The answers of all processes, those of the first process first.

    Args:
        own: This process' answers, JSON types.
        asked: What was asked of all together, alike in every process.

    Raises:
        SentinelError: if another process was asked something else.
    """
    if distributed.num_processes() == 1:
        return list(own)
    question = sha256(repr(asked).encode()).hexdigest()
    found = distributed.gather({"question": question, "answers": list(own)})
    for process, one in enumerate(found):
        if not isinstance(one, dict) or one.get("question") != question:
            raise SentinelError(
                f"process {process} evaluates something else than process "
                f"{distributed.process_index()}",
                "start all processes by one command, with the same data; where --use_cache is "
                "given, remove the files of all processes",
            )
    return [answer for one in found for answer in one["answers"]]
