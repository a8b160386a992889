"""A model without parameters: one choice of every task, whatever is asked."""

from collections.abc import Mapping
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

# far from everything that a metric could weigh against the given choice
_OTHERS = -1000.0


class MajorityLM(LM):
    """Answers every question of a task by the same choice.

    Args:
        choices: Index of the choice, by task; only tasks of multiple choice can be asked.
    """

    def __init__(self, choices: Mapping[str, int]) -> None:
        super().__init__()
        self._choices = dict(choices)

    def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
        """Certain of its choice; lm-eval numbers the requests of a document by its choices."""
        found = []
        for request in requests:
            assert request.task_name is not None  # lm-eval names the task of what it asks
            is_given = request.idx == self._choices[request.task_name]
            found.append((0.0 if is_given else _OTHERS, is_given))
        return found

    def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
        """Never asked: a text has no choices."""
        raise NotImplementedError(f"{len(requests)} texts have no choices")

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """Never asked: a text has no choices."""
        raise NotImplementedError(f"{len(requests)} prompts have no choices")
