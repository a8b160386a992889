"""What several models that are asked the same have in common: made once, for the first of them.

That is lm-eval's tasks with their requests, the tokens of every text, and the order in which they
are read. Answers are never shared: each model computes its own.
"""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Encodings:
    """What follows from a tokenizer and the requests alone, by what it was made from."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[Any, Any]] = {}

    def once(self, kind: Hashable, source: Any, make: Callable[[], T]) -> T:
        """What `make` returned when it was first asked for this.

        Args:
            kind: What is made, and everything but the source that it depends on.
            source: What it is made from: the very object counts, which nobody changes.
            make: Makes it.
        """
        key = (kind, id(source))
        if key not in self._found:
            # with its source, whose identity no other object gets as long as it lives
            self._found[key] = (source, make())
        found: T = self._found[key][1]
        return found

    def equal(self, kind: Hashable, source: Hashable) -> Any:
        """An object that stands for everything equal to `source`, to be the source of others."""
        return self._found.setdefault((kind, source), (source, source))[1]


class Questions:
    """Tasks that several models are asked, and how each tokenizer encodes them."""

    def __init__(self) -> None:
        self._tasks: dict[str, Any] = {}
        self._encodings: dict[int, tuple[Any, Encodings]] = {}

    def tasks(self, key: str, load: Callable[[], Any]) -> Any:
        """lm-eval's tasks, whose requests are built the first time that they are evaluated.

        Args:
            key: What was asked for: everything that changes a task or a request.
            load: Loads the tasks, as `TaskManager.load` does.
        """
        if key not in self._tasks:
            self._tasks[key] = load()
        else:
            for task in self._tasks[key]["tasks"].values():
                _ask_again(task)
        return self._tasks[key]

    def encodings(self, tokenizer: Any) -> Encodings:
        """What was made with a tokenizer; the very object counts."""
        found = self._encodings.setdefault(id(tokenizer), (tokenizer, Encodings()))
        return found[1]


def _ask_again(task: Any) -> None:
    """Let lm-eval evaluate a task once more, with the requests that it has built."""
    for instance in task.instances:
        instance.resps, instance.filtered_resps = [], {}
    # the same limit, examples and seed: they are part of the key
    task.build_all_requests = _built


def _built(**_: Any) -> None:
    """In place of lm-eval's, which would build the same requests."""
