"""One thread that does all work on models, the most urgent first, and drops what is out of date."""

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from torch import nn

from sentinel_research.errors import SentinelError

T = TypeVar("T")


class Urgency(IntEnum):
    """What is done first."""

    CALL = 0
    LOSS = 1
    WRITING = 2
    COST = 3


class OutdatedError(Exception):
    """Nobody wants the answer any more."""


class Stop:
    """Tells a piece of work that nobody wants it any more."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Let the work end at its next look."""
        self._asked.set()

    def look(self, *_: Any) -> None:
        """Raise OutdatedError if the work is out of date; also a forward pre-hook."""
        if self._asked.is_set():
            raise OutdatedError

    @contextmanager
    def watching(self, model: nn.Module, *, layer_by_layer: bool = True) -> Iterator[None]:
        """Look before every forward pass of a model inside the block.

        Args:
            model: Without anything of the watch afterwards.
            layer_by_layer: Whether to look before each of its layers too: a pass over long texts
                takes a minute. A look takes two microseconds, which what is timed does without.
        """
        watched = [model]
        if layer_by_layer:
            lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
            watched += [layer for part in lists for layer in part]
        handles = [part.register_forward_pre_hook(self.look) for part in watched]
        try:
            self.look()
            yield
        finally:
            for handle in handles:
                handle.remove()


@dataclass(eq=False)
class _Job:
    urgency: Urgency
    work: Callable[[Stop], object]
    failed: Callable[[str], object]
    stop: Stop = field(default_factory=Stop)
    is_wanted: bool = True
    answer: "Future[Any]" = field(default_factory=Future)


class Worker:
    """Does one job of every urgency at a time: a newer one takes the place of an older one.

    A job that is more urgent than the one that is running interrupts it; the other one begins
    again afterwards.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Urgency, _Job] = {}
        self._calls: deque[_Job] = deque()
        self._running: _Job | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="explorer", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], T]) -> T:
        """Do something before everything else, and wait for what it returns or raises.

        Raises:
            OutdatedError: if the worker is closed before.
        """
        answer: Future[T] = Future()

        def answered(_: Stop) -> None:
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)

        with self._changed:
            if self._is_closed:
                raise OutdatedError
            job = _Job(Urgency.CALL, answered, lambda _: None)
            job.answer = answer
            self._calls.append(job)
            self._interrupt(Urgency.CALL)
        return answer.result()

    def submit(
        self,
        urgency: Urgency,
        work: Callable[[Stop], object],
        failed: Callable[[str], object],
    ) -> None:
        """Ask for work.

        Args:
            urgency: What waits or runs with the same one is dropped.
            work: Gets what tells it that it is out of date.
            failed: Gets the message of work that failed.
        """
        with self._changed:
            job = _Job(urgency, work, failed)
            self._waiting[urgency] = job
            self._interrupt(urgency)

    def _interrupt(self, urgency: Urgency) -> None:
        """Stop what is running for something more urgent, or for something newer of its kind."""
        running = self._running
        if running is not None and running.urgency >= max(urgency, Urgency.LOSS):
            running.stop.ask()
        self._changed.notify_all()

    def drop(self, urgency: Urgency) -> None:
        """Forget work of this urgency, also what is running."""
        with self._changed:
            self._waiting.pop(urgency, None)
            running = self._running
            if running is not None and running.urgency == urgency:
                running.is_wanted = False
                running.stop.ask()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing to do; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._waiting or self._calls or self._running), timeout
            )

    def close(self) -> None:
        """Drop everything, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            for job in self._calls:
                job.answer.set_exception(OutdatedError())
            self._calls.clear()
            if self._running is not None:
                self._running.is_wanted = False
                self._running.stop.ask()
            self._changed.notify_all()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._calls or self._is_closed)
                if self._is_closed:
                    return
                job = self._calls.popleft() if self._calls else self._next()
                self._running = job
            try:
                job.work(job.stop)
            except OutdatedError:
                self._put_back(job)
            except SentinelError as error:
                job.failed(str(error))
            except Exception as error:
                # a defect: the person sees it, and so does the terminal
                traceback.print_exc()
                job.failed(f"unexpected error: {type(error).__name__}: {error}")
            finally:
                with self._changed:
                    self._running = None
                    self._changed.notify_all()

    def _next(self) -> _Job:
        return self._waiting.pop(min(self._waiting))

    def _put_back(self, job: _Job) -> None:
        """Begin an interrupted job again later, unless a newer one has taken its place."""
        with self._changed:
            if job.is_wanted and not self._is_closed:
                again = _Job(job.urgency, job.work, job.failed)
                self._waiting.setdefault(job.urgency, again)
