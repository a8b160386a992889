"""A run's progress, told to trackers beside whoever reads it."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sentinel_research import distributed
from sentinel_research.errors import StorageError
from sentinel_research.files import write_atomically
from sentinel_research.progress import Mark, Progress, Silent
from sentinel_research.record import CellRecord, RunRecord, TrackedBy
from sentinel_research.tracking.backends import FOLDER, Backend, backend
from sentinel_research.tracking.final import final_of, numbers_of
from sentinel_research.tracking.guard import CLOSE, Guarded
from sentinel_research.tracking.names import check_trackers

STATE_FILE = "logged.json"
"""In `FOLDER` of a run: the last step of every number of trainings that have not ended."""


def tracked(names: Iterable[str], progress: Progress | None = None) -> Progress:
    """Tell trackers too.

    Args:
        names: As accelerate calls them.
        progress: Who else is told; by default nobody, except of trackers that fail, on stderr.

    Returns:
        For the `progress` of anything that runs. `progress` itself without names, and in all but
        the main one of several processes.

    Raises:
        UsageError: see `check_trackers`.

    Example:
        >>> tracked([], progress := Silent()) is progress
        True
    """
    found = check_trackers(names)
    shown = progress or Silent(sys.stderr if found else None)
    return Tracked(shown, found) if found and distributed.is_main() else shown


class _Logged:
    """Which step was logged last of every number, so that a resumed training repeats none.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FOLDER / STATE_FILE
        self._path.parent.mkdir(exist_ok=True)
        self._steps: dict[str, int] = {}
        if self._path.exists():
            self._steps = json.loads(self._path.read_text(encoding="utf-8"))

    def fresh(self, prefix: str, values: Mapping[str, float], step: int) -> dict[str, float]:
        """Those numbers that are finite and were not logged before; they are noted."""
        found = {
            name: value
            for name, value in values.items()
            if math.isfinite(value) and step > self._steps.get(f"{prefix}/{name}", -1)
        }
        if found:
            self._steps |= dict.fromkeys((f"{prefix}/{name}" for name in found), step)
            self._write()
        return found

    def forget(self, prefix: str) -> None:
        """What is done is not done again."""
        kept = {name: at for name, at in self._steps.items() if not name.startswith(f"{prefix}/")}
        if len(kept) < len(self._steps):
            self._steps = kept
            self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._steps) + "\n")


class Tracked:
    """A Progress that is told to trackers and to another Progress.

    Args:
        shown: The other one.
        names: Of the trackers, checked.
    """

    def __init__(self, shown: Progress, names: Sequence[str]) -> None:
        self._shown, self._names = shown, names
        self._titles: list[str] = []
        self._depth = 0
        self._name = ""
        self._trackers: list[Guarded] = []
        self._logged: _Logged | None = None

    @property
    def is_verbose(self) -> bool:
        """See Progress."""
        return self._shown.is_verbose

    def start(self, title: str, total: int, *, done: int = 0, kinds: Sequence[str] = ()) -> None:
        """See Progress."""
        self._titles.append(title)
        self._shown.start(title, total, done=done, kinds=kinds)

    def advance(self, note: str = "", *, by: int = 1) -> None:
        """See Progress."""
        self._shown.advance(note, by=by)

    def end(self) -> None:
        """See Progress."""
        self._titles.pop()
        self._shown.end()

    def say(self, message: str, mark: Mark | None = None) -> None:
        """See Progress."""
        self._shown.say(message, mark)

    def detail(self, message: str) -> None:
        """See Progress."""
        self._shown.detail(message)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See Progress; the same number of one step is sent once, also by a resumed run."""
        self._shown.log(values, step)
        if self._logged is None:
            return
        prefix = self._prefix()
        try:
            fresh = self._logged.fresh(prefix, values, step)
        except StorageError as error:
            self._give_up(error)
            return
        if fresh:
            self._tell("log", lambda one: one.log(prefix, fresh, step))

    def _prefix(self) -> str:
        """The place of the innermost piece: cell and training, without the list of cells."""
        own = self._titles[self._depth :]
        return "/".join(title.removeprefix(f"{self._name}: ") for title in own[1:] or own)

    def opened(self, record: RunRecord, folder: Path) -> None:
        """See Progress."""
        self._shown.opened(record, folder)
        self._depth, self._name = len(self._titles), record.name
        before = {one.tracker: one for one in record.tracking}
        reports = {
            name: TrackedBy(tracker=name, run=before[name].run if name in before else None)
            for name in self._names
        }
        record.tracking = list({**before, **reports}.values())
        # pydantic may have copied them
        own = {one.tracker: one for one in record.tracking}
        self._trackers = [
            Guarded(backend(name, record, folder), own[name], self._shown) for name in self._names
        ]
        try:
            self._logged = _Logged(folder)
        except (OSError, ValueError) as error:
            self._give_up(error)
        for tracker in self._trackers:
            if tracker.report.failed is None:
                tracker.begin()
            if tracker.report.failed is None:
                place = tracker.report.where or "where it always writes"
                self._shown.say(f"{tracker.report.tracker}: {place}", "tracked")

    def measured(self, label: str, cell: CellRecord) -> None:
        """See Progress."""
        self._shown.measured(label, cell)
        if self._logged is not None and cell.status == "done":
            try:
                self._logged.forget(label)
            except StorageError as error:
                self._give_up(error)
        numbers = numbers_of(label, cell)
        if numbers:
            self._tell("log", lambda one: one.summarise(numbers))

    def concluded(self, record: RunRecord, folder: Path, label: str = "") -> None:
        """See Progress."""
        self._shown.concluded(record, folder, label)
        final = final_of(record, folder, label)
        self._tell("take the record", lambda one: one.hand_over(final))

    def closed(self, *, is_done: bool) -> None:
        """See Progress."""
        self._tell(CLOSE, lambda one: one.close(is_done=is_done))
        self._trackers, self._logged = [], None
        self._shown.closed(is_done=is_done)

    def _tell(self, what: str, work: Callable[[Backend], None]) -> None:
        for tracker in self._trackers:
            tracker.tell(what, work)

    def _give_up(self, error: Exception) -> None:
        """Without a note of what was sent, numbers would be sent twice."""
        self._logged = None

        def refuse(_: Backend) -> None:
            raise error

        self._tell(f"go on from {STATE_FILE}", refuse)
