"""What trackers raise, print and wait for never reaches a run.

Everything that a library does happens inside `careful`; the first thing that goes wrong with a
tracker is told once, kept in the record, and the tracker is not asked again.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator

from sentinel_research.progress import Progress
from sentinel_research.record import TrackedBy
from sentinel_research.redact import redacted
from sentinel_research.tracking.backends import Backend

BEGIN, CLOSE = "begin", "close"
"""What `Guarded` calls the first and the last thing that is asked of a tracker."""
_LONGEST_REASON = 300
# what says that this process is one of several
_LAUNCHED = ("LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class Guarded:
    """A tracker that cannot end a run.

    Args:
        backend: The tracker, which has not begun.
        report: What the record says about it; kept up to date here.
        progress: Who is told what goes wrong.
    """

    def __init__(self, backend: Backend, report: TrackedBy, progress: Progress) -> None:
        self._backend, self.report, self._progress = backend, report, progress

    def begin(self) -> None:
        """Begin, or go on with the run that the report names."""
        self._do(BEGIN, lambda: self._backend.begin(self.report.run))
        if self.report.failed is None:
            self.report.run, self.report.where = self._backend.run, self._backend.where

    def tell(self, what: str, work: Callable[[Backend], None]) -> None:
        """Do something with the tracker, unless it has failed before."""
        if self.report.failed is None:
            self._do(what, lambda: work(self._backend))

    def _do(self, what: str, work: Callable[[], None]) -> None:
        error = failure(work)
        if error is None:
            return
        self.report.failed = f"{what}: {reason(error)}"
        self._progress.say(
            f"the tracker {self.report.tracker} failed to {self.report.failed}; "
            "the run goes on without it",
            "warning",
        )
        if what not in (BEGIN, CLOSE):
            # what it has got so far is worth keeping; why it failed is known already
            failure(lambda: self._backend.close(is_done=False))


def failure(work: Callable[[], None]) -> BaseException | None:
    """What a library raises; it may also end the process, or raise what is no Exception.

    Raises:
        KeyboardInterrupt: that is the user's, and no failure.
    """
    try:
        with careful():
            work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def reason(error: BaseException) -> str:
    """What an error says, in one line and without secrets."""
    text = " ".join(str(error).split()) or "no reason given"
    return redacted(f"{type(error).__name__}: {text}")[:_LONGEST_REASON]


@contextlib.contextmanager
def careful() -> Iterator[None]:
    """Nothing is printed or warned of in the block, and accelerate's state is as before after it.

    Its trackers need a state of accelerate, and training makes its own: with the device that it is
    given, and with the other processes, which are not here.
    """
    from accelerate.state import PartialState

    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        # stdout is for results
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        # asking it for its state would make one
        if not PartialState._shared_state:
            launched = {name: os.environ.pop(name) for name in _LAUNCHED if name in os.environ}
            try:
                PartialState(cpu=True)
            finally:
                os.environ.update(launched)
            stack.callback(PartialState._reset_state)
        yield
