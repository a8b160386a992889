"""Examples in prompts: asked for only where a task has them."""

from typing import Any

import pytest

from sentinel_research.data import task_documents
from sentinel_research.errors import UsageError
from sentinel_research.evaluation.limits import check_examples
from sentinel_research.specs import EvalSpec


class _Task:
    def __init__(self, num_examples: int, **config: Any) -> None:
        self._num_examples, self._config = num_examples, config

    def get_config(self, key: str) -> Any:
        return self._config.get(key)

    def fewshot_docs(self) -> list[str]:
        return ["document"] * self._num_examples


def _check(monkeypatch: pytest.MonkeyPatch, num_fewshot: int | None, task: _Task) -> None:
    monkeypatch.setattr(task_documents, "load_tasks", lambda names: dict.fromkeys(names, task))
    check_examples(EvalSpec(tasks=["toy"], num_fewshot=num_fewshot))


def test_task_with_fewer_examples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="num_fewshot` = 3: the task 'toy' has only 2 examples"):
        _check(monkeypatch, 3, _Task(2))
    _check(monkeypatch, 3, _Task(3))


def test_task_that_scores_whole_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'toy' scores whole texts"):
        _check(monkeypatch, 1, _Task(9, output_type="loglikelihood_rolling"))


@pytest.mark.parametrize("asked", [None, 0, 3])
def test_task_that_shows_no_examples_needs_none(
    monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    _check(monkeypatch, asked, _Task(0, num_fewshot=0))
