"""Several processes of one run: who writes, who waits, and how an error of one reaches all.

`torchrun` and `accelerate launch` start the processes and say so in the environment. What they tell
each other here goes as JSON through the launcher's own key-value store, never through the
collectives of training: whoever waits for the main process to evaluate runs into no time limit,
and a message cannot be mistaken for a gradient. All processes call these functions in one order.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from sentinel_research.errors import (
    CheckFailedError,
    CheckpointError,
    DataError,
    SentinelError,
    StorageError,
    UsageError,
)

T = TypeVar("T")
# an evaluation may take days; a launcher ends all processes as soon as one of them fails
_PATIENCE = timedelta(days=365)
# how long a process that failed lets the main one put down why, if that failed too
_LAST_WORDS = timedelta(seconds=30)
_KINDS = {
    kind.__name__: kind
    for kind in (CheckFailedError, CheckpointError, DataError, StorageError, UsageError)
}


class _Line:
    """This process' connection to the others."""

    def __init__(self) -> None:
        self._store: Any = None
        self._numbers = itertools.count()

    @property
    def store(self) -> Any:
        if self._store is None:
            import torch

            # its stores carry no types
            torch_distributed: Any = torch.distributed
            if torch.cuda.is_available():
                # from here on `cuda` is this process' own GPU
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            found, _, _ = next(torch_distributed.rendezvous("env://"))
            self._store = torch_distributed.PrefixStore("sentinel_research", found)
            self._store.set_timeout(_PATIENCE)
        return self._store

    def exchange(self, message: str) -> list[str]:
        number = next(self._numbers)
        self.store.set(f"{number}/{process_index()}", message)
        return [self.store.get(f"{number}/{one}").decode() for one in range(num_processes())]


_line = _Line()


def num_processes() -> int:
    """Processes of this run; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_index() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes, evaluates and speaks."""
    return process_index() == 0


def divides_weights() -> bool:
    """Whether each process holds a part of the weights in training: what FSDP stands for.

    The launcher says so, by `distributed_type: FSDP` in its configuration file.
    """
    return num_processes() > 1 and launcher_says("ACCELERATE_USE_FSDP")


def launcher_says(name: str) -> bool:
    """Whether a variable that `accelerate launch` sets is true."""
    return os.environ.get(name, "false").lower() in ("true", "1")


def gather(value: Any) -> list[Any]:
    """Every process' value, in the order of the processes; waits for all of them.

    Args:
        value: JSON types only.
    """
    if num_processes() == 1:
        return [value]
    return [json.loads(one) for one in _line.exchange(json.dumps(value, allow_nan=False))]


def wait() -> None:
    """Go on when every process has come to this place."""
    gather(None)


def together(work: Callable[[], T]) -> T:
    """Do something in every process; where it fails in one of them, it fails in all.

    Only a failure that somebody catches needs this: the others would go on without the one that
    failed, and wait for it forever.

    Args:
        work: Without collectives inside.

    Raises:
        SentinelError: that of `work`, or what another process said of its own.
    """
    if num_processes() == 1:
        return work()
    own: SentinelError | None = None
    try:
        found = work()
    except SentinelError as error:
        own = error
    failures = gather(None if own is None else [type(own).__name__, own.message, own.hint])
    if own is not None:
        raise own
    for index, failure in enumerate(failures):
        if failure is not None:
            name, message, hint = failure
            raise _KINDS.get(name, SentinelError)(f"process {index}: {message}", hint)
    return found


def on_main(work: Callable[[], object]) -> None:
    """Do something in the main process alone; the others wait for its end, and fail as it fails.

    Raises:
        SentinelError: see `together`.
    """
    together(work if is_main() else lambda: None)


def from_main(work: Callable[[], T]) -> T:
    """What the main process finds, for all.

    Args:
        work: Called in the main process alone; returns JSON types.

    Raises:
        SentinelError: see `together`.
    """
    found: list[Any] = []
    on_main(lambda: found.append(work()))
    value: T = gather(found)[0][0]
    return value


def fail(tell: Callable[[], None]) -> None:
    """End a process for a failure: the first says why, and the main one has time to finish.

    A launcher ends all processes as soon as one is gone; where all fail for one reason, the main
    one still writes its record.

    Args:
        tell: Says why; called in one process at most.
    """
    if num_processes() == 1:
        tell()
        return
    store = _line.store
    if store.add("failures", 1) == 1:
        tell()
    if is_main():
        store.set("main has ended", "")
        return
    with contextlib.suppress(RuntimeError):
        # without it: this process alone has failed, or the main one is beyond recall
        store.wait(["main has ended"], _LAST_WORDS)


def refuse_several(what: str, instead: str) -> None:
    """Refuse to be started as several processes.

    Args:
        what: Which work that is, such as "`sentinel bench`".
        instead: What to do.

    Raises:
        UsageError: with more than one process.
    """
    if num_processes() > 1:
        raise UsageError(f"{what} runs in one process, and {num_processes()} were started", instead)
