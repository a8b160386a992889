"""Errors that a user can act on.

Each carries what was wrong (with its value) and a hint: what is accepted and what to type next.
The command line prints both on stderr without a traceback and exits with `exit_code`.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class SentinelError(Exception):
    """A failure that the user can understand and act on.

    Args:
        message: What was wrong, with the offending value.
        hint: What is accepted, and what to type next.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(SentinelError, ValueError):
    """The request itself is wrong: a name, a flag, a value, a recipe key."""

    exit_code = 2


class DataError(SentinelError):
    """A dataset is missing, empty, damaged or not where it was said to be."""


class CheckpointError(SentinelError):
    """A model folder is missing, damaged, of another kind, or does not fit its plan."""


class DivergedError(SentinelError):
    """Training produced a loss or a gradient that is not finite, or a loss far above its start.

    Args:
        message: See SentinelError.
        hint: See SentinelError.
        report: The stage's report up to there, for the record; JSON types only.
    """

    def __init__(self, message: str, hint: str, report: dict[str, Any]) -> None:
        super().__init__(message, hint)
        self.report = report


class BaselineError(SentinelError):
    """A kept baseline is damaged, was edited by hand, or is not there."""


class StorageError(SentinelError):
    """What was computed cannot be written: the disk is full, or the folder has gone."""


class CheckFailedError(SentinelError):
    """A result was measured and contradicts something that must hold (a leak, a broken law)."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """One sentence that names the nearest known names and then all of them.

    Args:
        name: What the user typed.
        known: The accepted names.

    Returns:
        `"Did you mean 'entropy'? Known: entropy, magnitude."`; no question if nothing is near.

    Example:
        >>> did_you_mean("entropi", ["magnitude", "entropy"])
        "Did you mean 'entropy'? Known: entropy, magnitude."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    question = f"Did you mean '{near[0]}'? " if near else ""
    return f"{question}Known: {', '.join(names) or 'none'}."
