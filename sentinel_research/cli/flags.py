"""Flags that commands share: as they were published, and who is told about a run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

from sentinel_research import distributed
from sentinel_research.errors import UsageError
from sentinel_research.progress import Live, Plain, Progress, Silent
from sentinel_research.specs.base import Frozen

PUBLISHED = Parameter(
    name="*", name_transform=lambda name: name, consume_multiple=True, negative=""
)
"""Of a request whose fields are the flags, with underscores, and lists behind one flag."""
TOLD = Parameter(name="*")
"""Of the flags that say who is told."""


class Hushed(Frozen):
    """Whether anybody is told what goes on."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """No progress on stderr."""


class Shown(Hushed):
    """Who is told about a run."""

    track: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Tell a tracker too: wandb, mlflow, tensorboard, or another of accelerate's (repeatable)."""


class Told(Shown):
    """Who is told about a run, and how much."""

    verbose: Annotated[bool, Parameter(negative="")] = False
    """Details on stderr, and what models write while they are trained. No number changes."""


BY_DEFAULT = Told()
"""Live or plain lines on stderr."""


@contextmanager
def shown_progress(told: Told) -> Iterator[Progress]:
    """Where progress goes: live lines in a terminal, plain lines elsewhere, trackers, or nowhere.

    Args:
        told: The flags.

    Raises:
        UsageError: for flags that contradict each other, or a tracker that cannot work; before
            anything runs.
    """
    check_told(told)
    from sentinel_research.tracking import tracked

    if told.quiet or not distributed.is_main():
        yield tracked(told.track, Silent(sys.stderr))
    elif sys.stderr.isatty():
        with Live(verbose=told.verbose) as live:
            yield tracked(told.track, live)
    else:
        yield tracked(told.track, Plain(verbose=told.verbose))


def check_told(told: Told) -> None:
    """Refuse flags that contradict each other, and trackers that cannot work.

    Raises:
        UsageError: if there are any.
    """
    if told.quiet and told.verbose:
        raise UsageError("--quiet and --verbose contradict each other", "leave one of them out")
    if told.track:
        from sentinel_research.tracking import check_trackers

        check_trackers(told.track)
