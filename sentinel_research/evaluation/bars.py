"""Who is told how far an evaluation is: a bar as in lm-eval, a run's progress, or nobody."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tqdm import tqdm

from sentinel_research import distributed
from sentinel_research.progress import Progress, piece


class Bars(NamedTuple):
    """Where counts are shown; one display at a time."""

    is_quiet: bool = False
    """No bar of tqdm."""
    progress: Progress | None = None
    """Is told in place of one."""

    def hushed(self, is_quiet: bool) -> "Bars":
        """The same without bars of tqdm, if `is_quiet`."""
        return self._replace(is_quiet=self.is_quiet or is_quiet)

    @contextlib.contextmanager
    def counted(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Count to `total` in the block, by the function that it gets; the main process shows it.

        Args:
            title: What is counted.
            total: Of all units.
        """
        if self.progress is not None and distributed.is_main():
            progress = self.progress
            with piece(progress, title, total):
                yield lambda number: progress.advance(by=number)
            return
        is_silent = self.is_quiet or not distributed.is_main()
        with tqdm(total=total, disable=is_silent, desc=title) as bar:
            yield bar.update
